"""Multiply-adds and bytes of a model, counted layer by layer, beside those of its dense twin."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from xmc import factory
from xmc.config import TrainConfig
from xmc.data.corpus import Corpus
from xmc.model.bag import BagModel
from xmc.model.encoder import Encoder
from xmc.model.intermediate import Identity, Linear
from xmc.model.sparse_features import SparseFeaturesModel
from xmc.model.sparse_linear import SparseLinear
from xmc.parts.sparse_ift import NoSparseIFT
from xmc.types import Batch

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one layer. macs: multiply-adds of a forward pass, a document on average."""

    macs: float
    weight_bytes: int
    index_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One layer as it is, and as it would be if it were dense; None where it is not there."""

    layer: str
    dense: Cost | None
    own: Cost | None


def count(config: TrainConfig, corpus: Corpus) -> list[Row]:
    """Every layer that multiplies or holds weights, on the first training batch."""
    torch.manual_seed(config.seed)
    encoder = factory.build_encoder(config, corpus)
    intermediate = factory.build_intermediate(config, encoder.width)
    twin = config.model_copy(update={"sparse_ift": NoSparseIFT()})
    dense_encoder = factory.build_encoder(twin, corpus) if encoder.transformation else encoder
    dense_intermediate = factory.build_intermediate(twin, encoder.width)
    batch = next(iter(factory.build_batches(config, corpus, "train", encoder, config.trainer.batch_size).epoch(0)))
    own, dense = _of_features(encoder, intermediate, batch), _of_features(dense_encoder, dense_intermediate, batch)
    labels = len(corpus.label_ids)
    own["classifier"] = Cost(*config.classifier.cost(labels, intermediate.width))
    dense["classifier"] = Cost(labels * dense_intermediate.width, 4 * labels * (dense_intermediate.width + 1))
    return [Row(name, dense.get(name), own.get(name)) for name in dict.fromkeys([*dense, *own])]


def table(rows: list[Row]) -> str:
    """A line a layer, and their sum."""
    lines = [
        "| layer | dense: MACs a document | MiB | this model: MACs a document | MiB | of it index |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {row.layer} | {_figures(row.dense, False)} | {_figures(row.own, True)} |" for row in rows]
    dense, own = _sum(row.dense for row in rows), _sum(row.own for row in rows)
    lines.append(f"| all | {_figures(dense, False)} | {_figures(own, True)} |")
    before = [row for row in rows if row.layer != "classifier"]
    dense, own = _sum(row.dense for row in before), _sum(row.own for row in before)
    if dense.macs:
        lines.append(f"\nbefore the classifier: {own.macs / dense.macs:.5f} times the dense multiply-adds")
    return "\n".join(lines)


def _sum(costs: Iterable[Cost | None]) -> Cost:
    there = [cost for cost in costs if cost is not None]
    return Cost(*(sum(getattr(cost, field.name) for cost in there) for field in fields(Cost)))


def _figures(cost: Cost | None, with_index: bool) -> str:
    if cost is None:
        return " | ".join("-" for _ in range(2 + with_index))
    figures = [f"{cost.macs:,.0f}", f"{(cost.weight_bytes + cost.index_bytes) / MIB:,.2f}"]
    return " | ".join(figures + [f"{cost.index_bytes / MIB:,.2f}"] * with_index)


class _Features(nn.Module):
    """What stands before the classifier."""

    def __init__(self, encoder: Encoder, intermediate: Linear | Identity) -> None:
        super().__init__()
        self.encoder = encoder
        self.intermediate = intermediate

    def forward(self, input_ids_BT: Tensor, attention_mask_BT: Tensor, values_BT: Tensor | None) -> Tensor:
        return self.intermediate(self.encoder(input_ids_BT, attention_mask_BT, values_BT))


@torch.no_grad()
def _of_features(encoder: Encoder, intermediate: Linear | Identity, batch: Batch) -> dict[str, Cost]:
    """The layers before the classifier, by name."""
    model = _Features(encoder, intermediate).eval()
    sparse: dict[nn.Module, int] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, SparseLinear):
            sparse[module] = sparse.get(module, 0) + output.numel() * module.active
        elif isinstance(module, BagModel | SparseFeaturesModel):
            sparse[module] = len(module.terms(*inputs)[0]) * module.config.hidden_size

    noted = SparseLinear | BagModel | SparseFeaturesModel
    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, noted)]
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
    with FlopCounterMode(display=False, custom_mapping=attention) as counter:
        model(batch.input_ids, batch.attention_mask, batch.values)
    for hook in hooks:
        hook.remove()
    inclusive = {name: sum(by_op.values()) for name, by_op in counter.get_flop_counts().items()}
    costs = {}
    for name, module in model.named_modules():
        macs = sparse.get(module)
        if macs is None or isinstance(module, BagModel):
            macs = (macs or 0) + (_flops(inclusive, name) - _flops_of_children(inclusive, name, module)) // 2
        own = Cost(macs / len(batch), *_bytes(module))
        if name and (own.macs or own.weight_bytes):
            costs[name] = own
    return costs


def _flops(inclusive: dict[str, int], name: str) -> int:
    return inclusive.get(f"{_Features.__name__}.{name}", 0)


def _flops_of_children(inclusive: dict[str, int], name: str, module: nn.Module) -> int:
    return sum(_flops(inclusive, f"{name}.{child}") for child, _ in module.named_children())


def _bytes(module: nn.Module) -> tuple[int, int]:
    """Of weights, and of the index, that are the module's own."""
    index = module.index.nbytes if isinstance(module, SparseLinear) else 0
    return sum(parameter.nbytes for parameter in module.parameters(recurse=False)), index


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query, key, value))
