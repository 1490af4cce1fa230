"""From configuration to optimizers."""

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from xmc import config as c
from xmc.factory.model import build_parametrization
from xmc.model import XMCModel
from xmc.model.auxiliary import ClusterHead
from xmc.model.classifier import FixedFanIn, LinearClassifier
from xmc.model.embedding_bag import EmbeddingBag
from xmc.model.head_and_tail import HeadAndTail
from xmc.model.sparse_linear import SparseLinear
from xmc.train.optim import InPlaceSGD, SlotAdamW
from xmc.train.sparse_novograd import SparseNovoGrad
from xmc.train.step import feature_parameters


def build_optimizers(config: c.TrainConfig, model: XMCModel, auxiliary: ClusterHead | None) -> dict[str, Optimizer]:
    """One optimizer a part; all follow the same schedule from their own peak."""
    encoder = config.encoder
    parts: dict[str, Optimizer] = {}
    bags = [module for module in model.encoder.modules() if isinstance(module, EmbeddingBag)]
    rules = build_parametrization(config)
    sparse = {
        layer.weight: rules.hidden_rate(layer.active, None if part is model.intermediate else layer.dense_fan_in)
        for part in (model.encoder, model.intermediate)
        for layer in part.modules()
        if isinstance(layer, SparseLinear) and layer.weight.requires_grad
    }
    scaled = [m.weight for m in model.intermediate.modules() if isinstance(m, nn.Linear)]
    others = {id(parameter) for parameter in [*(bag.table for bag in bags), *sparse, *scaled]}
    dense = [p for p in feature_parameters(model) if p.requires_grad and id(p) not in others]
    groups = _decay_groups(dense, encoder.weight_decay)
    for weight in scaled:
        rate = encoder.lr * rules.hidden_rate(weight.shape[1])
        groups.append({"params": [weight], "lr": rate, "weight_decay": encoder.weight_decay})
    if any(group["params"] for group in groups):
        parts["encoder"] = AdamW(groups, lr=encoder.lr)
    if sparse:
        groups = [{"params": [weight], "lr": rate * encoder.lr} for weight, rate in sparse.items()]
        parts["sparse"] = SlotAdamW(groups, lr=encoder.lr, weight_decay=encoder.weight_decay)
    if bags:
        terms = encoder.lexical if isinstance(encoder, c.TransformerEncoder) else encoder
        parts["embedding"] = SparseNovoGrad(bags, lr=terms.embedding_lr)
    layers: dict[str, nn.Module] = {"": model.classifier}
    if isinstance(model.classifier, HeadAndTail):
        layers = {"": model.classifier.tail, "head_": model.classifier.head}
    for prefix, layer in layers.items():
        assert isinstance(layer, LinearClassifier)
        rate = rules.classifier_rate(layer.active if isinstance(layer, FixedFanIn) else layer.in_features)
        own = _classifier_optimizers(config.classifier.optimizer, layer, rate, config.seed)
        parts |= {f"{prefix}{name}": optimizer for name, optimizer in own.items()}
    if auxiliary is not None and isinstance(config.auxiliary, c.ClustersAuxiliary):
        parts["auxiliary"] = AdamW(auxiliary.parameters(), lr=config.auxiliary.lr, weight_decay=0.0)
    for optimizer in parts.values():
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return parts


def _classifier_optimizers(
    section: c.AdamW | c.SGD, classifier: LinearClassifier, rate: float, seed: int
) -> dict[str, Optimizer]:
    """rate: multiplies the learning rate of the weights; that of the bias too where both are updated in place."""
    weight, bias, lr = [classifier.weight], [classifier.bias], rate * section.lr
    if isinstance(section, c.SGD):
        if isinstance(classifier, FixedFanIn) and not section.momentum:
            return {"classifier": InPlaceSGD([*weight, *bias], lr, section.weight_decay, seed)}
        groups = [
            {"params": weight, "lr": lr, "weight_decay": section.weight_decay},
            {"params": bias, "weight_decay": 0.0},
        ]
        return {"classifier": SGD(groups, lr=section.lr, momentum=section.momentum)}
    adam = SlotAdamW if isinstance(classifier, FixedFanIn) else AdamW
    return {
        "classifier": adam(weight, lr=lr, weight_decay=section.weight_decay),
        "bias": AdamW(bias, lr=section.lr, weight_decay=0.0),
    }


def _decay_groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices; none for biases and norms."""
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
