"""From configuration to the sparse layers that learn: their strategies, and when these change connections."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from xmc import config as c
from xmc.distributed import ALONE, Processes
from xmc.factory.model import INNER_ROWS
from xmc.model import XMCModel
from xmc.model.classifier import FixedFanIn
from xmc.model.label_space import sparse_labels
from xmc.model.sparse_linear import SparseLinear
from xmc.sparsity.health import TopologyHealth
from xmc.sparsity.strategy import Site, SparsitySection
from xmc.train.state import SparsePart


def build_sparse_parts(
    config: c.TrainConfig, model: XMCModel, total_steps: int, learned: Tensor, processes: Processes = ALONE
) -> dict[str, SparsePart]:
    """The sparse layers that learn, each with a strategy of its own. learned: bool [L], labels that already did.

    processes: that share the labels.
    """
    parts: dict[str, SparsePart] = {}

    def add(name: str, layer: FixedFanIn | SparseLinear, optimizer: str, offset: int, rows: Tensor | None) -> None:
        bound = config.parametrization.init_bound(layer.active)
        site = Site(layer, total_steps, config.seed, Path(config.run), offset, bound, rows)
        if processes.size > 1 and name == "classifier":
            numbers = processes.all_of(len(layer.weight))
            site = replace(site, shard=processes.shard(sum(n for (n,) in numbers)), processes=processes)
        strategy = config.sparsity.build(site)
        strategy.start(layer, rows)
        share = processes if name == "classifier" else ALONE
        health = TopologyHealth(layer.index[:, : layer.active], layer.in_features, share)
        parts[name] = SparsePart(layer, strategy, health, optimizer)

    if model.classifier.sparse is not None:
        rows = learned.to(model.device)[sparse_labels(model.classifier.own)]
        add("classifier", model.classifier.sparse, "classifier", model.classifier.sparse.label_offset, rows)
    row = INNER_ROWS
    for name, layer in model.named_modules():
        if isinstance(layer, SparseLinear) and layer.weight.requires_grad:
            add(name, layer, "sparse", row, None)
            row += len(layer.index)
    return parts


def why_nothing_rewires(section: SparsitySection, parts: Mapping[str, SparsePart], total_steps: int) -> str | None:
    """Why the strategy that was chosen will change no connection in a run of so many steps; None: it will."""
    if not section.rewires or not parts:
        return None
    layers, strategy = [part.layer for part in parts.values()], next(iter(parts.values())).strategy
    told = f"sparsity={section.kind} will change no connection: "
    if all(layer.active == layer.in_features for layer in layers):
        return f"{told}each label has all {layers[0].in_features} features; lower classifier.fan_in"
    first = next((step for step in range(1, total_steps + 1) if strategy.due(step)), None)
    if first is None:
        way = section.sooner(total_steps)
        return f"{told}the run's {total_steps} steps are over before the first rewiring; {way}"
    reasons = [reason for layer in layers if (reason := section.why_idle(layer, first, total_steps))]
    return told + reasons[0] if len(reasons) == len(layers) else None
