"""The half that is learned from a handful of documents, beside the model of `test_model`, and its file."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix
from test_model import TEXTS, make_model

from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.lexical import LexicalHalf, Terms, candidates, meta_features, prior
from xmc.model.neighbours import Neighbours, principal_directions, seen_from
from xmc.train.lexical import LexicalRecipe, learn_lexical_half
from xmc.types import TopK

RECIPE = LexicalRecipe(centroid_terms=8, leaf_size=2, start=6.0, cost=1.0, passes=5, threshold=0.05)
LABELS = csr_matrix(np.eye(4, 7, dtype=np.float32)[[0, 1, 2, 3] * 2][:, [1, 2, 3, 4, 5, 6, 0]])


def learned(model: XMCModel, labels: csr_matrix = LABELS) -> LexicalHalf:
    ids, mask, _ = model.encoder.tokenize(TEXTS)
    terms = Terms.learned(len(model.encoder.tokenizer), np.zeros(0, np.int64), [0, 1], [(ids, mask)])
    return learn_lexical_half(terms, terms.matrix(ids, mask), labels, RECIPE, seed=0)


def with_neighbours(half: LexicalHalf, model: XMCModel) -> LexicalHalf:
    """Of which two vote."""
    features = model.encode(TEXTS)
    directions = principal_directions(features, 3, seed=0)
    voting = Neighbours.of(directions, seen_from(directions, features), LABELS, 2)
    return replace(half, neighbours=voting, coefficients=torch.from_numpy(prior(4)) + 0.1)


@pytest.fixture(params=[False, True], ids=["", "neighbours"])
def model(request: pytest.FixtureRequest) -> XMCModel:
    model = make_model()
    model.lexical = learned(model)
    if request.param:
        model.lexical = with_neighbours(model.lexical, model.eval())
    return model.eval()


def test_each_document_finds_its_label(model: XMCModel) -> None:
    assert model.lexical is not None
    ids, mask, _ = model.encoder.tokenize(TEXTS[:4])
    for top in model.lexical.rank(model.encode(TEXTS[:4]), ids, mask, None, 3):
        assert top.labels[:, 0].tolist() == LABELS[:4].indices.tolist()
        assert ((top.scores[:, 0] > 0.5) & (top.scores[:, 0] <= 1)).all()


def test_a_tree_of_any_depth_is_learned() -> None:
    labels = csr_matrix(np.eye(8, 40, dtype=np.float32))
    half = learned(make_model(), labels)
    assert len(half.levels) == 2 and sorted(half.labels.tolist()) == list(range(8))
    flat = learn_lexical_half(
        half.terms, csr_matrix(np.eye(8, len(half.terms), dtype=np.float32)), labels, replace(RECIPE, leaf_size=99), 0
    )
    assert len(flat.levels) == 1


def test_the_model_and_its_copy_answer_alike(model: XMCModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = XMCModel.from_pretrained(tmp_path)
    assert again.predict(TEXTS, k=7) == model.predict(TEXTS, k=7)


def test_a_model_may_lose_its_half(model: XMCModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    model.lexical = None
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "lexical.safetensors").exists()


def test_labels_that_it_does_not_know_have_the_probability_of_the_network(model: XMCModel) -> None:
    assert model.lexical is not None
    known, unknown = int(model.lexical.labels[0]), 0 if 0 not in model.lexical.labels else 5
    network = TopK(torch.tensor([[0.5, 0.25, 0.125]]), torch.tensor([[known, unknown, 99]]))
    nothing = TopK(torch.zeros(1, 1), torch.full((1, 1), -1))
    top = model.lexical.stack(network, [nothing] * (2 if model.lexical.neighbours is None else 3), 3)
    found = dict(zip(top.labels[0].tolist(), top.scores[0].sigmoid().tolist(), strict=True))
    assert found.keys() == {known, unknown, 99}
    assert [found[unknown], found[99]] == pytest.approx([0.25, 0.125], abs=1e-4)


def test_without_dev_scores_are_those_of_the_prior() -> None:
    half = learned(make_model())
    a, b = half.labels[:2].tolist()
    lists = [TopK(torch.tensor([[x, y]]), torch.tensor([[a, b]])) for x, y in ((0.8, 0.1), (0.5, 0.6), (0.1, 0.9))]
    top = half.stack(lists[0], lists[1:], 2)
    labels, scores = candidates(lists)
    expected = dict(
        zip(labels[0].tolist(), prior(3) @ meta_features(scores, half.counts_of(labels))[:, 0], strict=True)
    )
    assert top.scores[0].tolist() == pytest.approx([expected[label] for label in top.labels[0].tolist()], abs=1e-4)


def changed(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "lexical.safetensors"
        tensors = load_file(path)
        save_file(tensors | {name: change(tensors[name]).contiguous()}, path)

    return edit


def card(**values: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "xmc.json"
        content = json.loads(path.read_text())
        content["lexical"] |= values
        path.write_text(json.dumps(content))

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        changed("labels", lambda t: t + 5),
        changed("labels", torch.zeros_like),
        changed("terms.idf", lambda t: t[:-1]),
        changed("terms.idf", lambda t: t * torch.inf),
        changed("levels.0.bias", lambda t: t * torch.nan),
        changed("levels.0.terms", lambda t: t + 1000),
        changed("levels.0.terms", lambda t: t.flip(0)),
        changed("levels.0.rows", lambda t: t + 100),
        changed("levels.0.rows", lambda t: -1 - t),
        changed("levels.0.offsets", lambda t: t * 2),
        changed("levels.1.nodes", lambda t: t.flip(0)),
        changed("levels.1.first", lambda t: t[:-1]),
        changed("levels.1.weights", lambda t: t[:-1]),
        changed("centroids.scale", lambda t: t * torch.inf),
        changed("centroids.weights", lambda t: t.float()),
        changed("counts", lambda t: t[1:]),
        changed("counts", torch.zeros_like),
        changed("coefficients", lambda t: t[1:]),
        changed("coefficients", lambda t: t * torch.inf),
        card(levels=0),
        card(levels=1),
        card(levels=5),
        card(nearest=0),
        card(nearest=-1),
    ],
)
@pytest.mark.parametrize("model", [True], indirect=True)
def test_a_half_is_whole_or_refused(edit: Callable[[Path], None], model: XMCModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    content = json.loads((tmp_path / "model" / "xmc.json").read_text())
    shutil.copytree(tmp_path / "model", tmp_path / "changed")
    (tmp_path / "changed" / "xmc.json").write_text(json.dumps(content | {"files": {}, "digest": ""}))
    edit(tmp_path / "changed")
    with pytest.raises(XMCError, match="changed"):
        XMCModel.from_pretrained(tmp_path / "changed")
