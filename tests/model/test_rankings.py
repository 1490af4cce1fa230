import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmc.model.rankings import added, blended
from xmc.types import TopK

ROWS = st.lists(st.tuples(st.integers(-1, 4), st.sampled_from([0.0, 0.125, 0.25])), min_size=3, max_size=3)


@given(st.lists(ROWS, min_size=1, max_size=4), st.integers(1, 8))
def test_scores_are_added(rows: list[list[tuple[int, float]]], k: int) -> None:
    lists = [TopK(torch.tensor([[s for _, s in row]]), torch.tensor([[label for label, _ in row]])) for row in rows]
    sums = {label: 0.0 for row in rows for label, _ in row if label >= 0}
    for label, score in (entry for row in rows for entry in row if entry[0] >= 0):
        sums[label] += score
    expected = sorted(sums.items(), key=lambda entry: (-entry[1], entry[0]))[:k]
    top = added(lists, k)
    found = list(zip(top.labels[0].tolist(), top.scores[0].tolist(), strict=True))
    assert found == expected + [(-1, 0.0)] * (k - len(expected))


def test_logits_are_those_of_the_sum() -> None:
    lists = [TopK(torch.tensor([[0.5, 0.1]]), torch.tensor([[3, 1]])), TopK(torch.tensor([[0.3]]), torch.tensor([[1]]))]
    top = blended(lists, 3)
    assert top.labels.tolist() == [[3, 1, -1]]
    assert top.scores.sigmoid()[0].tolist() == pytest.approx([0.5, 0.4, 0.0])
