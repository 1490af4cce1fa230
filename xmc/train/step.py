"""One training step: features by autograd, the classifier by its streaming pass, the two joined at the features."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xmc.model import XMCModel
from xmc.model.auxiliary import ClusterHead
from xmc.model.classifier import Update
from xmc.model.embedding_bag import EmbeddingBag
from xmc.ops.bag import TableGradient
from xmc.types import Batch


@dataclass(frozen=True, slots=True)
class Outcome:
    """Losses of one step, each summed over its labels or clusters and averaged over documents; and the gradient of the
    features."""

    main: float
    auxiliary: float | None
    gradient_BD: Tensor


def compute_gradients(
    model: XMCModel,
    auxiliary: ClusterHead | None,
    batch: Batch,
    *,
    auxiliary_weight: float,
    micro_batch_size: int | None = None,
    update: Update = None,
) -> Outcome:
    """Leave the gradient of (1 - a) * main + a * auxiliary, a = `auxiliary_weight`, in every parameter's `.grad`, or
    where an `EmbeddingBag` keeps that of its table. update: the step that a classifier takes itself instead.

    With a micro-batch size, features are first computed without a graph, the classifier runs once on the whole batch,
    then each micro-batch is encoded again with its graph: gradient caching (Gao et al., 2021, arXiv 2101.06983). Both
    passes draw the same dropout masks.
    """
    bounds = _micro_batches(len(batch), micro_batch_size)
    replay = _Replay(model.device)
    cached = len(bounds) > 1
    with torch.set_grad_enabled(not cached):
        parts = []
        for start, stop in bounds:
            replay.record()
            parts.append(_encode(model, batch, start, stop))
    features_BD = torch.cat(parts) if cached else parts[0]

    leaf_BD = features_BD.detach()
    main_loss, grad_BD = model.classifier.step(leaf_BD, batch.positives, model.loss, 1.0 - auxiliary_weight, update)
    auxiliary_loss = None
    if auxiliary is not None and auxiliary_weight > 0:
        auxiliary_loss, auxiliary_grad_BD = auxiliary.step(leaf_BD, batch.positives, model.loss, auxiliary_weight)
        grad_BD = grad_BD + auxiliary_grad_BD

    if not cached and features_BD.requires_grad:
        features_BD.backward(grad_BD)
    elif cached and any(p.requires_grad for p in feature_parameters(model)):
        for i, (start, stop) in enumerate(bounds):
            replay.restore(i)
            _encode(model, batch, start, stop).backward(grad_BD[start:stop])
    auxiliary_value = None if auxiliary_loss is None else auxiliary_loss.item()
    return Outcome(main_loss.item(), auxiliary_value, grad_BD)


def feature_parameters(model: XMCModel) -> Iterator[nn.Parameter]:
    """Parameters between the tokens and the features: encoder and intermediate layer."""
    yield from model.encoder.parameters()
    yield from model.intermediate.parameters()


@torch.no_grad()
def gradient_norms(model: XMCModel) -> dict[str, float]:
    """Norm of the gradient of each layer before the classifier, by its name."""
    norms: dict[str, float] = {}
    dense = ((name, float(torch.linalg.vector_norm(gradient))) for name, gradient in _gradients(model))
    tables = ((f"{name}.table", gradient.norm) for name, gradient in _table_gradients(model))
    for name, norm in (*dense, *tables):
        layer = _layer_of(name)
        norms[layer] = math.hypot(norms.get(layer, 0.0), norm)
    return norms


def _layer_of(parameter: str) -> str:
    """The numbered block that a parameter belongs to, or its module."""
    path = parameter.split(".")[:-1]
    number = next((i for i, part in enumerate(path) if part.isdigit()), len(path) - 1)
    return ".".join(path[: number + 1])


@torch.no_grad()
def clip_gradients(model: XMCModel, max_norm: float | None) -> float:
    """Scale the gradients of encoder and intermediate layer to at most `max_norm` together; returns their norm before.

    Those of tables, which torch's own clipping does not know, are among them.
    """
    dense, tables = dict(_gradients(model)), dict(_table_gradients(model))
    norms = [torch.linalg.vector_norm(gradient) for gradient in dense.values()]
    of_dense = torch.linalg.vector_norm(torch.stack(norms)).item() if norms else 0.0
    norm = math.hypot(of_dense, *(gradient.norm for gradient in tables.values()))
    if max_norm is not None and norm > max_norm:
        for gradient in dense.values():
            gradient.mul_(max_norm / norm)
        for table_gradient in tables.values():
            table_gradient.scale *= max_norm / norm
    return norm


def _gradients(model: XMCModel) -> Iterator[tuple[str, Tensor]]:
    """The gradients of encoder and intermediate layer by parameter, but for those of tables."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not name.startswith("classifier."):
            yield name, parameter.grad


def _table_gradients(model: XMCModel) -> Iterator[tuple[str, TableGradient]]:
    """Those of the tables of embedding bags, by module."""
    for name, module in model.named_modules():
        if isinstance(module, EmbeddingBag) and module.gradient is not None:
            yield name, module.gradient


class _Replay:
    """Random states before each micro-batch, to draw the same dropout masks again."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self._states: list[tuple[Tensor, Tensor | None]] = []

    def record(self) -> None:
        cuda = torch.cuda.get_rng_state(self._cuda) if self._cuda is not None else None
        self._states.append((torch.get_rng_state(), cuda))

    def restore(self, i: int) -> None:
        cpu, cuda = self._states[i]
        torch.set_rng_state(cpu)
        if cuda is not None and self._cuda is not None:
            torch.cuda.set_rng_state(cuda, self._cuda)


def _micro_batches(size: int, micro: int | None) -> list[tuple[int, int]]:
    step = micro or size
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def _encode(model: XMCModel, batch: Batch, start: int, stop: int) -> Tensor:
    length = int(batch.attention_mask[start:stop].sum(1).max())
    ids, mask = batch.input_ids[start:stop, :length], batch.attention_mask[start:stop, :length]
    values = None if batch.values is None else batch.values[start:stop, :length]
    return model.features(ids, mask, values)
