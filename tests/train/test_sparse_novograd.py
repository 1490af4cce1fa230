import pytest
import torch
from torch import nn

from xmc.train.sparse_novograd import SparseNovoGrad


def test_two_steps_by_hand() -> None:
    table = nn.Parameter(torch.ones(4, 2))
    optimizer = SparseNovoGrad([table], lr=0.5, beta=0.9)
    table.grad = torch.sparse_coo_tensor(torch.tensor([[1, 3]]), torch.tensor([[3.0, 4.0], [0.0, 2.0]]), (4, 2))
    optimizer.step()
    first = (29 / 4) ** 0.5  # the bias correction makes the first moment that of the first gradient
    expected = torch.tensor([[1, 1], [1 - 1.5 / first, 1 - 2 / first], [1, 1], [1, 1 - 1 / first]])
    torch.testing.assert_close(table.detach(), expected)
    table.grad = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([[1.0, 1.0]]), (4, 2))
    optimizer.step()
    second = ((0.9 * 0.1 * 29 / 4 + 0.1 * 1) / (1 - 0.9**2)) ** 0.5
    expected[0] -= 0.5 / second
    torch.testing.assert_close(table.detach(), expected)


def test_the_scale_of_the_gradients_does_not_matter() -> None:
    tables = [nn.Parameter(torch.zeros(3, 2)) for _ in range(2)]
    for table, scale in zip(tables, (1.0, 2.0**-20), strict=True):
        optimizer = SparseNovoGrad([table], lr=0.1)
        for gradient in torch.tensor([[[1.0, 2.0]], [[-3.0, 0.5]]]) * scale:
            table.grad = torch.sparse_coo_tensor(torch.tensor([[2]]), gradient, (3, 2))
            optimizer.step()
    torch.testing.assert_close(tables[0], tables[1])


def test_uncoalesced_gradients_add_up() -> None:
    tables = [nn.Parameter(torch.zeros(3, 1)) for _ in range(2)]
    tables[0].grad = torch.sparse_coo_tensor(torch.tensor([[2, 2]]), torch.tensor([[1.0], [2.0]]), (3, 1))
    tables[1].grad = torch.sparse_coo_tensor(torch.tensor([[2]]), torch.tensor([[3.0]]), (3, 1))
    for table in tables:
        SparseNovoGrad([table], lr=0.1).step()
    assert torch.equal(tables[0], tables[1])


def test_untouched_rows_stay_to_the_bit() -> None:
    table = nn.Parameter(torch.randn(50, 4))
    before = table.detach().clone()
    optimizer = SparseNovoGrad([table], lr=0.1)
    table.grad = torch.sparse_coo_tensor(torch.tensor([[7]]), torch.randn(1, 4), (50, 4))
    optimizer.step()
    others = torch.arange(50) != 7
    assert torch.equal(table[others], before[others])
    assert not torch.equal(table[7], before[7])


@pytest.mark.parametrize("rows", [[], [1]])
def test_a_gradient_of_nothing_moves_nothing(rows: list[int]) -> None:
    table = nn.Parameter(torch.ones(3, 2))
    table.grad = torch.sparse_coo_tensor(torch.tensor([rows], dtype=torch.int64), torch.zeros(len(rows), 2), (3, 2))
    SparseNovoGrad([table], lr=1.0).step()
    assert torch.equal(table, torch.ones(3, 2))


def test_dense_gradients_are_refused() -> None:
    table = nn.Parameter(torch.zeros(2, 2))
    table.grad = torch.ones(2, 2)
    with pytest.raises(ValueError, match="expects sparse gradients"):
        SparseNovoGrad([table], lr=1.0).step()
