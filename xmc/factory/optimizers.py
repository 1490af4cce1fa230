"""From configuration to optimizers."""

from torch import nn
from torch.optim import AdamW

from xmc import config as c
from xmc.model import XMCModel
from xmc.model.auxiliary import ClusterHead
from xmc.model.bag import EmbeddingBag
from xmc.model.classifier import FixedFanIn, LinearClassifier
from xmc.model.head_and_tail import HeadAndTail
from xmc.model.sparse_linear import SparseLinear
from xmc.train.optim import Optimizers, SlotAdamW, SparseNovoGrad
from xmc.train.step import feature_parameters


def build_optimizers(config: c.TrainConfig, model: XMCModel, auxiliary: ClusterHead | None) -> Optimizers:
    """One optimizer a part; all follow the same schedule from their own peak."""
    encoder, rules = config.encoder, config.parametrization
    parts = Optimizers()
    bags = [module for module in model.encoder.modules() if isinstance(module, EmbeddingBag)]
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
        assert encoder.bag is not None
        parts["embedding"] = SparseNovoGrad(bags, lr=encoder.bag.embedding_lr)
    classifier = model.classifier.own
    layers: dict[str, nn.Module] = {"": classifier}
    if isinstance(classifier, HeadAndTail):
        layers = {"": classifier.tail, "head_": classifier.head}
    for prefix, layer in layers.items():
        assert isinstance(layer, LinearClassifier)
        rate = rules.classifier_rate(layer.active if isinstance(layer, FixedFanIn) else layer.in_features)
        own = config.classifier.optimizer.build(layer, rate, config.seed)
        parts |= {f"{prefix}{name}": optimizer for name, optimizer in own.items()}
    if auxiliary is not None:
        parts["auxiliary"] = config.auxiliary.optimizer(auxiliary)
    for optimizer in parts.values():
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return parts


def _decay_groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices; none for biases and norms."""
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
