"""One training step: features by autograd, the classifier by its streaming pass, the two joined at the features; then
the optimizers, and rewiring where it is due.

Of several processes each has a part of the batch's documents and of the labels. The classifier gathers the features by
itself (`ShardedClassifier`); the gradients of what stands before it are added up by `share_gradients`.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xmc.distributed import Processes
from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.auxiliary import ClusterHead
from xmc.model.bag import EmbeddingBag
from xmc.model.classifier import Update
from xmc.ops.bag import TableGradient
from xmc.train.state import TrainState, random_state, set_random_state
from xmc.types import Batch


class Diverged(XMCError):
    """The loss is no longer finite."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Losses of one step, scalars on the device, each summed over its labels or clusters and averaged over documents;
    and the gradient of the features."""

    main: Tensor
    auxiliary: Tensor | None
    gradient_BD: Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did.

    rates: learning rates by optimizer. gradient_norm: of all that stands before the classifier, before it was clipped.
    layer_norms: of each layer of that, where they were asked for. moved: connections. health: figures of the
    topologies that were due to change.
    """

    outcome: Outcome
    rates: dict[str, float]
    gradient_norm: Tensor
    layer_norms: dict[str, float]
    moved: int
    health: dict[str, float]


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    rate: float,
    auxiliary_weight: float,
    micro_batch_size: int | None,
    clip_norm: float | None,
    by_layer: bool,
) -> Step:
    """Learn from a batch, and rewire what is due then. The model is in training mode.

    rate: share of the peak learning rates. by_layer: whether layers' gradients are measured. The others: see
    `compute_gradients` and `clip_gradients`.

    Raises:
        Diverged: the loss is no longer finite. On a GPU, which is not waited for, the log tells.
    """
    model, number, parts = state.model, state.progress.step + 1, state.sparse.values()
    rates = state.optimizers.set_rates(rate)
    for part in parts:
        part.strategy.prepare(part.layer, number, rates[part.optimizer])
    with own_random_numbers(state.processes, model.device):
        outcome = compute_gradients(
            *(model, state.auxiliary, batch),
            auxiliary_weight=auxiliary_weight,
            micro_batch_size=micro_batch_size,
            update=state.optimizers.in_place_update,
        )
    share_gradients(model, state.processes)
    if model.device.type == "cpu":
        check_loss(outcome.main.item(), number)
    layer_norms = gradient_norms(model) if by_layer else {}
    gradient_norm = clip_gradients(model, clip_norm)
    state.optimizers.step()
    state.progress.step = number
    for part in parts:
        if part.layer.watches:
            part.strategy.observe(part.layer.take_evidence())
    return Step(outcome, rates, gradient_norm, layer_norms, *_rewire(state))


def check_loss(loss: float, step: int) -> None:
    """Raise Diverged where it is not finite."""
    if not math.isfinite(loss):
        raise Diverged(
            f"the loss is {loss} at step {step}: training diverged. Lower the learning rates (encoder.lr, "
            "classifier.optimizer.lr) or lengthen trainer.warmup, and start anew with another run=..."
        )


def _rewire(state: TrainState) -> tuple[int, dict[str, float]]:
    """Connections that moved after this step, in all layers together; and how the topologies that were due are then."""
    step, moved = state.progress.step, 0
    health: dict[str, float] = {}
    for name, part in state.sparse.items():
        if part.strategy.due(step):
            moved += part.strategy.rewire(part.layer, state.optimizers, step)
            prefix = "topology/" if name == "classifier" else f"topology/{name}/"
            figures = part.health.record(part.layer.index[:, : part.layer.active], step)
            health |= {prefix + figure: value for figure, value in figures.items()}
    return moved, health


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
    passes draw the same dropout masks. A GPU is not waited for.
    """
    bounds = _micro_batches(batch, micro_batch_size)
    batch = batch.to(model.device)
    cached = len(bounds) > 1
    with torch.set_grad_enabled(not cached):
        states, parts = [], []
        for part in bounds:
            if cached:
                states.append(random_state(model.device))
            parts.append(_encode(model, batch, *part))
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
        for state, part in zip(states, bounds, strict=True):
            set_random_state(state, model.device)
            _encode(model, batch, *part).backward(grad_BD[part[0] : part[1]])
    return Outcome(main_loss, auxiliary_loss, grad_BD)


def feature_parameters(model: XMCModel) -> Iterator[nn.Parameter]:
    """Parameters between the tokens and the features: encoder and intermediate layer."""
    yield from model.encoder.parameters()
    yield from model.intermediate.parameters()


@torch.no_grad()
def share_gradients(model: XMCModel, processes: Processes) -> None:
    """Put in the place of each gradient before the classifier the sum over all processes."""
    if processes.size == 1:
        return
    bags = [module for module in model.modules() if isinstance(module, EmbeddingBag)]
    for bag in bags:
        own = TableGradient.of_no_bags(bag.table) if bag.gradient is None else bag.gradient
        bag.gradient = own.gathered(processes.gather)
    tables = {id(bag.table) for bag in bags}
    learning = [p for p in feature_parameters(model) if p.requires_grad and id(p) not in tables]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
    here = torch.tensor([float(p.grad is not None) for p in learning], device=model.device)
    processes.add_up([*gradients, here])  # a process without documents has none
    for parameter, gradient, processes_with_it in zip(learning, gradients, here.tolist(), strict=True):
        parameter.grad = gradient if processes_with_it else None


@contextlib.contextmanager
def own_random_numbers(processes: Processes, device: torch.device) -> Iterator[None]:
    """Within, torch draws numbers that differ from process to process, since each has other documents to drop out of.

    They follow from the state that all processes share, which stays one, and from the rank.
    """
    if processes.size == 1:
        yield
        return
    seed = int(torch.randint(1 << 62, ())) + processes.rank
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


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
def clip_gradients(model: XMCModel, max_norm: float | None) -> Tensor:
    """Scale the gradients of encoder and intermediate layer to at most `max_norm` together; returns their norm before,
    a float64 scalar.

    Those of tables, which torch's own clipping does not know, are among them; for these alone a GPU is waited for.
    """
    dense, tables = dict(_gradients(model)), dict(_table_gradients(model))
    norms = [torch.linalg.vector_norm(gradient) for gradient in dense.values()]
    norm = torch.linalg.vector_norm(torch.stack(norms)).double() if norms else torch.zeros((), dtype=torch.float64)
    if tables:
        of_tables = (gradient.norm for gradient in tables.values())
        norm = torch.tensor(math.hypot(norm.item(), *of_tables), dtype=torch.float64)
    if max_norm is not None:
        share = (max_norm / norm).clamp_max(1.0)
        for gradient in dense.values():
            gradient.mul_(share)
        for table_gradient in tables.values():
            table_gradient.scale *= share.item()
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


def _micro_batches(batch: Batch, micro: int | None) -> list[tuple[int, int, int]]:
    """Where each begins and ends, and the length of its longest document; of no documents a single one."""
    size, lengths = len(batch), batch.attention_mask.sum(1)
    if not size:
        return [(0, 0, 0)]
    bounds = [(start, min(start + (micro or size), size)) for start in range(0, size, micro or size)]
    return [(start, stop, int(lengths[start:stop].max())) for start, stop in bounds]


def _encode(model: XMCModel, batch: Batch, start: int, stop: int, length: int) -> Tensor:
    ids, mask = batch.input_ids[start:stop, :length], batch.attention_mask[start:stop, :length]
    values = None if batch.values is None else batch.values[start:stop, :length]
    return model.features(ids, mask, values)
