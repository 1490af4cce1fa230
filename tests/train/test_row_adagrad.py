from itertools import pairwise

import pytest
import torch
from torch import nn

from xmc.train.row_adagrad import RowAdagrad


def test_one_step_by_hand() -> None:
    table = nn.Parameter(torch.ones(4, 2))
    optimizer = RowAdagrad([table], lr=0.5)
    table.grad = torch.sparse_coo_tensor(torch.tensor([[1, 3]]), torch.tensor([[3.0, 4.0], [0.0, 2.0]]), (4, 2))
    optimizer.step()
    root = 12.5**0.5
    expected = torch.tensor([[1, 1], [1 - 1.5 / root, 1 - 2 / root], [1, 1], [1, 1 - 1 / 2**0.5]])
    torch.testing.assert_close(table.detach(), expected)
    torch.testing.assert_close(optimizer.state[table]["sum"], torch.tensor([0, 12.5, 0, 2.0]))


def test_uncoalesced_gradients_add_up() -> None:
    tables = [nn.Parameter(torch.zeros(3, 1)) for _ in range(2)]
    tables[0].grad = torch.sparse_coo_tensor(torch.tensor([[2, 2]]), torch.tensor([[1.0], [2.0]]), (3, 1))
    tables[1].grad = torch.sparse_coo_tensor(torch.tensor([[2]]), torch.tensor([[3.0]]), (3, 1))
    for table in tables:
        RowAdagrad([table], lr=0.1).step()
    assert torch.equal(tables[0], tables[1])


def test_untouched_rows_stay_to_the_bit() -> None:
    table = nn.Parameter(torch.randn(50, 4))
    before = table.detach().clone()
    optimizer = RowAdagrad([table], lr=0.1)
    table.grad = torch.sparse_coo_tensor(torch.tensor([[7]]), torch.randn(1, 4), (50, 4))
    optimizer.step()
    others = torch.arange(50) != 7
    assert torch.equal(table[others], before[others])
    assert not torch.equal(table[7], before[7])


def test_later_steps_are_smaller() -> None:
    table = nn.Parameter(torch.zeros(1, 1))
    optimizer = RowAdagrad([table], lr=1.0)
    positions = [0.0]
    for _ in range(4):
        table.grad = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1, 1), (1, 1))
        optimizer.step()
        positions.append(table.item())
    moves = [a - b for a, b in pairwise(positions)]
    assert moves == pytest.approx([n**-0.5 for n in range(1, 5)])


def test_dense_gradients_are_refused() -> None:
    table = nn.Parameter(torch.zeros(2, 2))
    table.grad = torch.ones(2, 2)
    with pytest.raises(ValueError, match="expects sparse gradients"):
        RowAdagrad([table], lr=1.0).step()
