from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix

from xmc.errors import XMCError
from xmc.model import neighbours as search
from xmc.model.neighbours import Neighbours, principal_directions, seen_from
from xmc.model.tensor_file import TensorFile

WIDTH, LABELS = 4, 6


def documents(count: int, nearest: int, seed: int) -> Neighbours:
    """Features of 0 and 1 before they have length 1, so that many are equally near."""
    rng = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 4, (count,), generator=rng)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    labels = torch.cat([torch.randperm(LABELS, generator=rng)[:n] for n in counts.tolist()] + [torch.zeros(0)])
    carried = csr_matrix((np.ones(len(labels)), labels.numpy(), offsets.numpy()), (count, LABELS))
    directions = torch.eye(WIDTH, 3)
    features = torch.randint(0, 2, (count, WIDTH), generator=rng)
    return Neighbours.of(directions, seen_from(directions, features), carried, nearest)


def shares(of: Neighbours, query: torch.Tensor) -> np.ndarray:
    """As the definition has it, one document and one neighbour at a time."""
    query = query @ of.directions
    near = (of.features.float() @ (query / query.norm().clamp_min(1e-12))).clamp_min(0).tolist()
    chosen = sorted(range(len(near)), key=lambda row: (-near[row], row))[: of.nearest]
    total, found = sum(near[row] for row in chosen), np.zeros(LABELS)
    for row in chosen:
        for label in of.labels[of.offsets[row] : of.offsets[row + 1]].tolist():
            found[label] += near[row] / total if total else 0
    return found


@given(count=st.integers(1, 40), nearest=st.integers(1, 12), block=st.integers(1, 9), seed=st.integers(0, 99))
def test_blocks_give_what_the_definition_gives(count: int, nearest: int, block: int, seed: int) -> None:
    of = documents(count, nearest, seed)
    queries = torch.randint(0, 2, (5, WIDTH), generator=torch.Generator().manual_seed(seed + 1)).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_BLOCK", block)
        top = of.rank(queries, LABELS)
    assert top.labels.shape == top.scores.shape == (5, LABELS)
    for query, labels, scores in zip(queries, top.labels.tolist(), top.scores.tolist(), strict=True):
        expected, found = shares(of, query), np.zeros(LABELS)
        for label, score in zip(labels, scores, strict=True):
            if label >= 0:
                found[label] = score
        assert np.allclose(found, expected, atol=1e-3)
        assert scores == sorted(scores, reverse=True) and 0 <= scores[0] <= 1 + 1e-9


def test_the_share_of_the_nearest() -> None:
    carried = csr_matrix((np.ones(4), [4, 4, 1, 0], [0, 1, 3, 4]), (3, 5))
    features = seen_from(torch.eye(2), torch.tensor([[5.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    of = Neighbours.of(torch.eye(2), features, carried, 2)
    top = of.rank(torch.tensor([[2.0, 0.0]]), 3)
    assert top.labels.tolist() == [[4, 1, -1]]
    assert top.scores[0].tolist() == pytest.approx([1, 0.6 / 1.6, 0], abs=1e-3)


def changed(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        tensors = load_file(path)
        save_file(tensors | {name: change(tensors[name]).contiguous()}, path)

    return edit


def put(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[-1] = value
        return tensor

    return change


def test_saved_and_read(tmp_path: Path) -> None:
    of, path = documents(20, 3, seed=0), tmp_path / "neighbours.safetensors"
    of.save(path)
    again = Neighbours.load(TensorFile(path), 3, WIDTH, LABELS)
    queries = torch.eye(WIDTH)
    assert torch.equal(again.rank(queries, 5).scores, of.rank(queries, 5).scores)


def test_before_there_were_directions_all_features_were_compared(tmp_path: Path) -> None:
    of, path = documents(20, 3, seed=0), tmp_path / "neighbours.safetensors"
    features = torch.nn.functional.normalize(torch.rand(20, WIDTH, generator=torch.Generator().manual_seed(0))).half()
    save_file({"features": features, "offsets": of.offsets, "labels": of.labels}, path)
    again = Neighbours.load(TensorFile(path), 3, WIDTH, LABELS)
    query = torch.rand(1, WIDTH)
    found = {label: score for label, score in enumerate(shares(again, query[0])) if score}
    top = again.rank(query, LABELS)
    assert dict(zip(top.labels[0].tolist(), top.scores[0].tolist(), strict=True)) | {-1: 0} == pytest.approx(
        found | {-1: 0}, abs=1e-3
    )


def test_directions_are_those_in_which_documents_differ() -> None:
    rng = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(10, 10, generator=rng)).Q[:3]
    features = torch.randn(200, 3, generator=rng) @ axes + 1e-3 * torch.randn(200, 10, generator=rng)
    directions = principal_directions(features, 3, seed=0)
    torch.testing.assert_close(directions.T @ directions, torch.eye(3))
    torch.testing.assert_close(axes @ directions @ directions.T, axes, atol=1e-3, rtol=0)
    assert principal_directions(features[:2], 64, seed=0).shape == (10, 2)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (changed("features", lambda t: t.float()), "features is float32"),
        (changed("features", lambda t: t[:, :-1]), "do not belong together, or to 4 features"),
        (changed("features", lambda t: t[:-1]), "do not belong together"),
        (changed("directions", lambda t: t[:-1]), "do not belong together"),
        (changed("directions", lambda t: t.half()), "directions is float16"),
        (changed("directions", put(torch.inf)), "not finite"),
        (changed("features", put(torch.nan)), "not finite"),
        (changed("offsets", lambda t: t + 1), "offsets do not ascend from 0"),
        (changed("offsets", lambda t: t.flip(0)), "offsets do not ascend"),
        (changed("labels", put(LABELS)), "labels has one out of range"),
        (changed("labels", lambda t: t.long()), "labels is int64"),
    ],
)
def test_whole_or_refused(edit: Callable[[Path], None], told: str, tmp_path: Path) -> None:
    path = tmp_path / "neighbours.safetensors"
    documents(20, 3, seed=0).save(path)
    edit(path)
    with pytest.raises(XMCError, match=told):
        Neighbours.load(TensorFile(path), 3, WIDTH, LABELS)
