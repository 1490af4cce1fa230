import torch
from hypothesis import given
from hypothesis import strategies as st

from xmc.ops.topk import StreamingTopK


def stream(logits: torch.Tensor, k: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    best = StreamingTopK(k)
    for start in range(0, logits.shape[1], size):
        best.add(logits[:, start : start + size], start)
    result = best.result()
    return result.scores, result.labels


@given(
    st.lists(st.lists(st.sampled_from([-2.0, 0.0, 0.5, -torch.inf]), min_size=9, max_size=9), min_size=1, max_size=4),
    st.integers(1, 12),
    st.integers(1, 9),
)
def test_is_a_stable_sort_whatever_the_block_size(rows: list[list[float]], k: int, size: int) -> None:
    logits = torch.tensor(rows)
    scores, labels = stream(logits, k, size)
    expected_scores, expected = logits.sort(dim=1, descending=True, stable=True)
    n = min(k, 9)
    assert torch.equal(labels[:, :n], expected[:, :n]) and torch.equal(scores[:, :n], expected_scores[:, :n])
    assert (labels[:, n:] == -1).all() and (scores[:, n:] == -torch.inf).all()


def test_nan_never_displaces_a_score() -> None:
    scores, labels = stream(torch.tensor([[torch.nan, 1.0, -5.0, torch.nan, 3.0]]), 4, 2)
    assert labels.tolist() == [[4, 1, 2, 0]]
    assert scores.tolist() == [[3.0, 1.0, -5.0, -torch.inf]]


def test_labels_beyond_float32_stay_exact() -> None:
    best = StreamingTopK(2)
    best.add(torch.tensor([[1.0, 2.0]]), 2**24 + 1)
    assert best.result().labels.tolist() == [[2**24 + 2, 2**24 + 1]]
