"""Tables of embeddings in a quarter of the bytes: int8 with a scale a row.

    row r = scale[r] * levels[r], levels from -127 to 127

A scale is the largest number of its row over 127, rounded up to 17 significant bits, so that its products with levels
are exact in float32. Rows that were rounded to levels once are therefore found again to the bit, however often they
are saved and read.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from xmc.model.bag import EmbeddingBag
from xmc.model.tensor_file import scale_of
from xmc.ops.blocks import label_slices

_MOST = 127  # of a level
_DROPPED = 0x7F  # of the 24 significant bits of float32, those that a scale lacks
_SMALLEST = 1e-30  # a row of smaller numbers is 0
_ROWS = 1 << 12  # at a time


def table_names(model: nn.Module) -> list[str]:
    """Names in the model's state of the tables of all bags in it."""
    bags = (name for name, module in model.named_modules() if isinstance(module, EmbeddingBag))
    return [f"{name}.table".lstrip(".") for name in bags]


@torch.no_grad()
def round_tables_(model: nn.Module) -> None:
    """Round every row of the tables to its levels, in place: then the model in memory is the one that is saved."""
    for name in table_names(model):
        table = model.get_parameter(name)
        for rows in label_slices(len(table), _ROWS):
            levels, scale = _levels(table[rows])
            table[rows] = levels * scale[:, None]


@torch.no_grad()
def rounded(tensors: Mapping[str, Tensor], tables: Iterable[str]) -> dict[str, Tensor]:
    """The tensors, those of `tables`, float32 [R, D], as levels, int8, and scales, float32 [R].

    `tensor_file.fill` reads them back.
    """
    packed = dict(tensors)
    for name in tables:
        table = tensors[name]
        packed[name] = torch.empty(table.shape, dtype=torch.int8, device=table.device)
        packed[scale_of(name)] = table.new_empty(len(table))
        for rows in label_slices(len(table), _ROWS):
            packed[name][rows], packed[scale_of(name)][rows] = _levels(table[rows])
    return packed


def packed(model: nn.Module) -> dict[str, Tensor]:
    """The model's state, to save: as `rounded`, but for tables with a number that this would change."""
    tensors = model.state_dict()
    return rounded(tensors, [name for name in table_names(model) if _is_rounded(tensors[name])])


def _is_rounded(table: Tensor) -> bool:
    def same(rows: Tensor) -> bool:
        levels, scale = _levels(rows)
        return torch.equal(levels * scale[:, None], rows)

    return all(same(table[rows]) for rows in label_slices(len(table), _ROWS))


def _levels(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Levels, as float32, and scales of float32 rows [n, D]."""
    largest = rows.abs().amax(1)
    bits = (largest / _MOST).view(torch.int32)
    scale = ((bits + _DROPPED) & ~_DROPPED).view(torch.float32)
    scale = torch.where(largest < _SMALLEST, 0.0, scale)
    return (rows / torch.where(scale == 0, 1.0, scale)[:, None]).round_(), scale
