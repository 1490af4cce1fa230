"""From configuration to the sparse layers that learn: their strategies, and when these change connections."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from xmc import config as c
from xmc.factory.model import INNER_ROWS, build_parametrization
from xmc.model import XMCModel
from xmc.model.classifier import FixedFanIn
from xmc.model.label_space import sparse_labels
from xmc.model.sparse_linear import SparseLinear
from xmc.sparsity import (
    HostStore,
    ImplicitStore,
    MappedStore,
    RigL,
    Set,
    Static,
    Strategy,
    TopKast,
    TopologyHealth,
    WeightStore,
    cosine_decay,
    initial_scale,
    scale_below,
)
from xmc.train.state import SparsePart

REWIRINGS = 4  # one every fourth of a run, where sparsity.interval or refresh is null ...
SHORTEST, LONGEST = 10, 100  # ... but of so many steps: a new connection needs some to learn


def default_interval(total_steps: int) -> int:
    """Steps between two rewirings in a run of so many."""
    return min(max(total_steps // REWIRINGS, SHORTEST), LONGEST)


def build_sparse_parts(
    config: c.TrainConfig, model: XMCModel, total_steps: int, learned: Tensor
) -> dict[str, SparsePart]:
    """The sparse layers that learn, each with a strategy of its own. learned: bool [L], labels that already did."""
    parts: dict[str, SparsePart] = {}

    def add(name: str, layer: FixedFanIn | SparseLinear, optimizer: str, offset: int, rows: Tensor | None) -> None:
        strategy = _build_strategy(config, layer, total_steps, offset, rows)
        strategy.start(layer, rows)
        health = TopologyHealth(layer.index[:, : layer.active], layer.in_features)
        parts[name] = SparsePart(layer, strategy, health, optimizer)

    if model.classifier.sparse is not None:
        rows = learned.to(model.device)[sparse_labels(model.classifier)]
        add("classifier", model.classifier.sparse, "classifier", 0, rows)
    row = INNER_ROWS
    for name, layer in model.named_modules():
        if isinstance(layer, SparseLinear) and layer.weight.requires_grad:
            add(name, layer, "sparse", row, None)
            row += len(layer.index)
    return parts


def why_nothing_rewires(
    section: c.StaticSparsity | c.SetSparsity | c.RigLSparsity | c.TopKastSparsity,
    parts: Mapping[str, SparsePart],
    total_steps: int,
) -> str | None:
    """Why the strategy that was chosen will change no connection in a run of so many steps; None: it will."""
    if isinstance(section, c.StaticSparsity) or not parts:
        return None
    layers, strategy = [part.layer for part in parts.values()], next(iter(parts.values())).strategy
    told = f"sparsity={section.kind} will change no connection: "
    if all(layer.active == layer.in_features for layer in layers):
        return f"{told}each label has all {layers[0].in_features} features; lower classifier.fan_in"
    first = next((step for step in range(1, total_steps + 1) if strategy.due(step)), None)
    if first is None:
        key = "refresh" if isinstance(section, c.TopKastSparsity) else "interval"
        soon = round(getattr(section, "stop", 1.0) * total_steps) // 3
        way = f"set sparsity.{key}={soon}, or train longer" if soon else "train longer, or raise sparsity.stop"
        return f"{told}the run's {total_steps} steps are over before the first rewiring; {way}"
    if isinstance(section, c.TopKastSparsity):
        stay = all(layer.index.shape[1] == layer.active for layer in layers)
        return f"{told}none learn but those that speak; raise sparsity.backward" if stay else None
    share = cosine_decay(first, section.initial, round(section.stop * total_steps))
    by_share = isinstance(section, c.RigLSparsity) or section.drop == "fraction"
    if by_share and not any(round(share * layer.active) for layer in layers):
        return f"{told}{share:.2g} of a label's is less than one; raise sparsity.initial or classifier.fan_in"
    return None


def _build_strategy(
    config: c.TrainConfig, layer: FixedFanIn | SparseLinear, total_steps: int, offset: int, learned: Tensor | None
) -> Strategy:
    """offset: number of the layer's first row among all that draw random connections. learned: bool [l], its rows
    that already did."""
    section, default = config.sparsity, default_interval(total_steps)
    end = round(getattr(section, "stop", 0.0) * total_steps)
    match section:
        case c.StaticSparsity():
            return Static()
        case c.TopKastSparsity():
            assert isinstance(layer, FixedFanIn) and learned is not None
            return TopKast(_build_store(config, section, layer, learned), section.refresh or default, section.penalty)
        case c.SetSparsity():
            return Set(
                *(section.initial, section.interval or default, end, config.seed), mode=section.drop, offset=offset
            )
        case c.RigLSparsity():
            return RigL(
                *(section.initial, section.interval or default, end, config.seed),
                candidates=section.candidates if isinstance(layer, FixedFanIn) else "all",  # known anyway
                batches=section.batches,
                offset=offset,
            )


def _build_store(config: c.TrainConfig, section: c.TopKastSparsity, layer: FixedFanIn, learned: Tensor) -> WeightStore:
    """Where the weights without a slot live."""
    n_labels, in_features, seed = layer.num_labels, layer.in_features, config.seed
    bound = build_parametrization(config).init_bound(layer.active)
    plain, dtype = initial_scale(n_labels, layer.active, in_features, bound, seed), layer.weight.dtype
    scale = scale_below(plain, layer.weight[:, : layer.active], learned).cpu() if learned.any() else plain
    match section.store:
        case "host":
            return HostStore(n_labels, in_features, scale, seed, dtype)
        case "mapped":
            return MappedStore(n_labels, in_features, scale, seed, dtype, Path(config.run) / "waiting-weights.bin")
        case "implicit":
            return ImplicitStore(in_features, scale, seed, dtype)
