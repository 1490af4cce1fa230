"""The bag op against the dense product in float64; both back ends; the same bits with any number of threads."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from xmc.ops.bag import Bags, TableGradient, api, bag_sums, tf_idf

THREADS = 1, 2, 3


@pytest.fixture(params=["fused_cpu", "stock"], autouse=True)
def back_end(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "_serving", lambda _: api._module(request.param))
        yield request.param


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Bags, Tensor]:
    """A table [R, D], bags of its rows and a gradient of their sums [B, D]."""
    size, width, rows = draw(st.integers(0, 40)), draw(st.integers(1, 70)), draw(st.integers(1, 60))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    counts = torch.randint(draw(st.integers(1, 30)), (size,), generator=generator)
    bags = torch.arange(size).repeat_interleave(counts)
    entries = torch.randint(rows, (len(bags),), generator=generator)
    weights = torch.randn(len(bags), generator=generator)
    table, of_sums = (torch.randn(n, width, generator=generator) for n in (rows, size))
    return table, Bags.of(bags, entries, weights, size), of_sums


@st.composite
def documents(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """What `count_terms` takes; ids below 2 are no words."""
    size, length, vocab = draw(st.integers(0, 40)), draw(st.integers(1, 30)), draw(st.integers(3, 20))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    ids = torch.randint(vocab, (size, length), generator=generator)
    mask = torch.arange(length) < torch.randint(length + 1, (size, 1), generator=generator)
    bigrams = torch.randperm(vocab**2, generator=generator)[: draw(st.integers(0, vocab**2))].sort().values
    return ids, mask.long(), bigrams, 2, vocab


def matrix_of(bags: Bags, rows: int) -> Tensor:
    """The bags as a dense matrix [B, R] in float64."""
    documents = torch.arange(len(bags)).repeat_interleave(bags.offsets.diff())
    empty = torch.zeros(len(bags), rows, dtype=torch.float64)
    return empty.index_put((documents, bags.rows), bags.weights.double(), accumulate=True)


def with_threads(number: int, call: Callable[[], Tensor]) -> Tensor:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        return call()
    finally:
        torch.set_num_threads(before)


@given(documents())
@settings(max_examples=60, deadline=None)
def test_terms_are_those_of_a_counter(problem: tuple[Tensor, Tensor, Tensor, int, int]) -> None:
    ids, mask, bigrams, first_word, vocab = problem
    places = {key: vocab + place for place, key in enumerate(bigrams.tolist())}
    expected = []
    for number, (row, length) in enumerate(zip(ids.tolist(), mask.sum(1).tolist(), strict=True)):
        row = row[:length]
        keys = [a * vocab + b for a, b in itertools.pairwise(row) if min(a, b) >= first_word]
        found = Counter([word for word in row if word >= first_word] + [places[key] for key in keys if key in places])
        expected += [(number, term, count) for term, count in sorted(found.items())]
    for threads in THREADS:
        terms = with_threads(threads, lambda: torch.stack(api._serving(ids).count_terms(*problem)))
        assert list(map(tuple, terms.T.tolist())) == expected


@given(documents(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_weights_are_tf_idf(problem: tuple[Tensor, Tensor, Tensor, int, int], seed: int) -> None:
    """To the bit those of torch's operators, and in float64 those of the formula."""
    found = api._module("stock").count_terms(*problem)
    documents, terms, counts = found[0], found[1], found[2] ** 3
    size = len(problem[0])
    idf = 10 * torch.rand(problem[4] + len(problem[2]), generator=torch.Generator().manual_seed(seed))
    weights = api._serving(idf).tf_idf(documents, terms, counts, idf, size)
    assert torch.equal(weights, api._module("stock").tf_idf(documents, terms, counts, idf, size))
    values = (1 + counts.double().log()) * idf[terms].double()
    length = torch.zeros(size).double().index_add_(0, documents, values**2).sqrt().clamp_min(1e-6)
    torch.testing.assert_close(weights.double(), values / length[documents], rtol=1e-5, atol=1e-6)


def test_a_term_without_idf() -> None:
    entries = [torch.tensor(part) for part in ([0, 0], [1, 3], [1, 1])]
    with pytest.raises(IndexError):
        tf_idf(*entries, torch.ones(3), 1)


@given(problems())
@settings(max_examples=60, deadline=None)
def test_sums_are_those_of_a_dense_product(problem: tuple[Tensor, Bags, Tensor]) -> None:
    table, bags, _ = problem
    sums = [with_threads(n, lambda: bag_sums(table, bags)) for n in THREADS]
    torch.testing.assert_close(sums[0].double(), matrix_of(bags, len(table)) @ table.double(), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(sums[0], other) for other in sums[1:])


@given(problems())
@settings(max_examples=60, deadline=None)
def test_gradient_is_that_of_a_dense_product(problem: tuple[Tensor, Bags, Tensor]) -> None:
    table, bags, of_sums = problem
    expected = matrix_of(bags, len(table)).T @ of_sums.double()
    gradient = TableGradient(bags, of_sums)
    sparse = gradient.to_sparse(len(table))
    touched = bags.rows.unique()
    assert torch.equal(gradient.rows, touched) and torch.equal(sparse.indices()[0], touched)
    torch.testing.assert_close(sparse.to_dense().double(), expected, rtol=1e-5, atol=1e-5)
    assert gradient.norm == pytest.approx(float(expected.norm()), rel=1e-5, abs=1e-6)
    assert gradient.mean_square == pytest.approx(
        float(expected[touched].square().sum()) / max(1, sparse.values().numel()), rel=1e-5, abs=1e-6
    )


@given(problems(), st.floats(-2, 2), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_update_is_that_of_a_dense_product(problem: tuple[Tensor, Bags, Tensor], factor: float, scale: float) -> None:
    table, bags, of_sums = problem
    expected = table.double() + factor * scale * (matrix_of(bags, len(table)).T @ of_sums.double())

    def updated() -> Tensor:
        gradient, result = TableGradient(bags, of_sums), table.clone()
        gradient.scale = scale
        gradient.add_to_(result, factor)
        return result

    results = [with_threads(n, updated) for n in THREADS]
    torch.testing.assert_close(results[0].double(), expected, rtol=1e-5, atol=1e-5)
    untouched = torch.ones(len(table), dtype=torch.bool).index_fill(0, bags.rows, False)
    assert torch.equal(results[0][untouched], table[untouched])
    assert all(torch.equal(results[0], other) for other in results[1:])


@given(problems())
@settings(max_examples=30, deadline=None)
def test_norm_has_the_same_bits_with_any_number_of_threads(problem: tuple[Tensor, Bags, Tensor]) -> None:
    _, bags, of_sums = problem
    norms = {with_threads(n, lambda: torch.tensor(TableGradient(bags, of_sums).norm)).item() for n in THREADS}
    assert len(norms) == 1


@given(problems(), problems())
@settings(max_examples=30, deadline=None)
def test_gradients_of_two_passes_add_up(one: tuple[Tensor, Bags, Tensor], other: tuple[Tensor, Bags, Tensor]) -> None:
    width = min(one[2].shape[1], other[2].shape[1])
    gradients = [TableGradient(bags, of_sums[:, :width]) for _, bags, of_sums in (one, other)]
    expected = sum(gradient.to_sparse(60).to_dense() for gradient in gradients)
    together = gradients[0].plus(gradients[1])
    torch.testing.assert_close(together.to_sparse(60).to_dense(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("row", [-1, 3, 2**40])
def test_rows_that_the_table_has_not(row: int) -> None:
    bags = Bags.of(torch.zeros(5, dtype=torch.int64), torch.tensor([0, 1, 2, row, 0]), torch.ones(5), 1)
    with pytest.raises((IndexError, RuntimeError), match=r"the table of 3 rows does not have|not in the valid range"):
        bag_sums(torch.ones(3, 2), bags)


def test_an_update_beyond_the_table() -> None:
    gradient = TableGradient(Bags.of(torch.tensor([0]), torch.tensor([7]), torch.ones(1), 1), torch.ones(1, 2))
    with pytest.raises(IndexError, match="the table has 7 rows, and the gradient has row 7"):
        gradient.add_to_(torch.ones(7, 2), 1.0)


def test_not_a_number_spreads() -> None:
    table = torch.tensor([[1.0, float("nan")], [float("inf"), 2.0]])
    bags = Bags.of(torch.tensor([0, 1]), torch.tensor([0, 1]), torch.ones(2), 2)
    torch.testing.assert_close(bag_sums(table, bags), table, equal_nan=True)
    assert math.isnan(TableGradient(bags, table).norm)


class Operators(TorchDispatchMode):
    """The names of all that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func._schema.name)
        return func(*args, **(kwargs or {}))


def test_stock_operators_sum_in_an_order_of_their_own() -> None:
    """On a GPU `index_add_` adds in whatever order comes, which counts where two terms are one document's."""
    documents, terms, counts = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), torch.tensor([1, 2, 3])
    with Operators() as operators:
        weights = api._module("stock").tf_idf(documents, terms, counts, torch.tensor([1.0, 2.0]), 2)
    assert weights[2].item() == pytest.approx(1) and torch.linalg.vector_norm(weights[:2]).item() == pytest.approx(1)
    assert not any("index_add" in name or "scatter" in name for name in operators.names)
