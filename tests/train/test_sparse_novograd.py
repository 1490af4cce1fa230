import pytest
import torch
from torch import Tensor
from transformers import PretrainedConfig

from xmc.model.bag import EmbeddingBag
from xmc.ops.bag import Bags, TableGradient
from xmc.train.optim import SparseNovoGrad


def make_bag(table: Tensor) -> EmbeddingBag:
    bag = EmbeddingBag(PretrainedConfig(hidden_size=table.shape[1]), len(table))
    with torch.no_grad():
        bag.table.copy_(table)
    return bag


def gradient_of(rows: list[int], values: Tensor) -> TableGradient:
    """With these rows [U], [U, D], by as many bags of one row each."""
    offsets = torch.arange(len(rows) + 1)
    return TableGradient(Bags(offsets, torch.tensor(rows, dtype=torch.int64), torch.ones(len(rows))), values)


def test_two_steps_by_hand() -> None:
    bag = make_bag(torch.ones(4, 2))
    optimizer = SparseNovoGrad([bag], lr=0.5, beta=0.9)
    bag.gradient = gradient_of([1, 3], torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    optimizer.step()
    first = (29 / 4) ** 0.5  # the bias correction makes the first moment that of the first gradient
    expected = torch.tensor([[1, 1], [1 - 1.5 / first, 1 - 2 / first], [1, 1], [1, 1 - 1 / first]])
    torch.testing.assert_close(bag.table.detach(), expected)
    bag.gradient = gradient_of([0], torch.tensor([[1.0, 1.0]]))
    optimizer.step()
    second = ((0.9 * 0.1 * 29 / 4 + 0.1 * 1) / (1 - 0.9**2)) ** 0.5
    expected[0] -= 0.5 / second
    torch.testing.assert_close(bag.table.detach(), expected)


def test_the_scale_of_the_gradients_does_not_matter() -> None:
    bags = [make_bag(torch.zeros(3, 2)) for _ in range(2)]
    for bag, scale in zip(bags, (1.0, 2.0**-20), strict=True):
        optimizer = SparseNovoGrad([bag], lr=0.1)
        for values in torch.tensor([[[1.0, 2.0]], [[-3.0, 0.5]]]):
            bag.gradient = gradient_of([2], values)
            bag.gradient.scale = scale
            optimizer.step()
    torch.testing.assert_close(bags[0].table, bags[1].table)


def test_untouched_rows_stay_to_the_bit() -> None:
    bag = make_bag(torch.randn(50, 4))
    before = bag.table.detach().clone()
    optimizer = SparseNovoGrad([bag], lr=0.1)
    bag.gradient = gradient_of([7], torch.randn(1, 4))
    optimizer.step()
    others = torch.arange(50) != 7
    assert torch.equal(bag.table[others], before[others])
    assert not torch.equal(bag.table[7], before[7])


@pytest.mark.parametrize("rows", [[], [1]])
def test_a_gradient_of_nothing_moves_nothing(rows: list[int]) -> None:
    bag = make_bag(torch.ones(3, 2))
    optimizer = SparseNovoGrad([bag], lr=1.0)
    bag.gradient = gradient_of(rows, torch.zeros(len(rows), 2))
    optimizer.step()
    assert torch.equal(bag.table, torch.ones(3, 2))


def test_a_gradient_is_used_once() -> None:
    bag = make_bag(torch.ones(3, 2))
    optimizer = SparseNovoGrad([bag], lr=1.0)
    hidden = bag.embed(torch.tensor([0]), torch.tensor([1]), torch.ones(1), 1)
    (hidden * torch.tensor([1.0, 2.0])).sum().backward()
    assert bag.gradient is not None and bag.table.grad is None
    optimizer.zero_grad()
    assert bag.gradient is None
    optimizer.step()
    assert torch.equal(bag.table, torch.ones(3, 2))
