"""What is asked of every strategy that can be chosen, whoever wrote it."""

from pathlib import Path

import pytest
import torch

from xmc.model.sparse_linear import SparseLinear
from xmc.sparsity import SPARSITY
from xmc.sparsity.strategy import Site
from xmc.sparsity.topology import init_index


def site(steps: int) -> Site:
    layer = SparseLinear(20, init_index(9, 6, 20, 0), generator=torch.Generator().manual_seed(0))
    return Site(layer, steps, seed=0, folder=Path(), first_row=0, bound=0.1, learned=torch.zeros(9, dtype=torch.bool))


@pytest.mark.parametrize(
    ("steps", "interval"), [(1, 10), (39, 10), (60, 15), (399, 99), (400, 100), (416, 100), (10**6, 100)]
)
def test_the_interval_is_a_share_of_the_run(steps: int, interval: int) -> None:
    assert site(steps).interval == interval


@pytest.mark.parametrize("name", SPARSITY.names())
def test_every_strategy_says_what_it_needs(name: str) -> None:
    section = SPARSITY[name]()
    assert section.kind == name and section.__doc__
    slots = section.slots(8, 1024)
    assert slots >= 8 and (slots > 8) == section.learns_beyond_output
    assert section.slots(8, 8) == 8
    assert (section.rewiring_bytes(1000, 1000, slots, 1024) > 0) == section.rewires
    assert any(map(section.build(site(400)).due, range(400))) == section.rewires
