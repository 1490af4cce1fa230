"""The weights that a classifier starts with."""

import torch
from torch import Tensor

from xmc.distributed import Shard
from xmc.ops.blocks import label_slices

_DRAWN = 1 << 22  # weights that are drawn at once


def drawn_weights(
    shard: Shard, columns: int, bound: float, generator: torch.Generator | None, dtype: torch.dtype
) -> Tensor:
    """Those of the shard [l, columns] among the weights that are drawn for all labels, uniform in +- bound.

    Without a generator they are yet to be filled.
    """
    weight = torch.empty(len(shard), columns, dtype=dtype)
    if generator is not None:
        for drawn in label_slices(shard.of, max(1, _DRAWN // columns)):
            block = torch.empty(drawn.stop - drawn.start, columns).uniform_(-bound, bound, generator=generator)
            first, last = max(drawn.start, shard.start), min(drawn.stop, shard.stop)
            if first < last:
                weight[first - shard.start : last - shard.start] = block[first - drawn.start : last - drawn.start]
    return weight
