import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from test_model import NAMES, TEXTS, make_model

from xmc.errors import XMCError
from xmc.model import Blend, Member, NearestDocuments, Neighbours, ScoreFiles, XMCModel
from xmc.model.neighbours import seen_from
from xmc.types import TopK

LABELS = [f"l{i}" for i in range(7)]


def nearest(model: XMCModel, width: int = 12) -> NearestDocuments:
    count = len(TEXTS)
    carried = csr_matrix((np.ones(count), np.arange(count) % 7, np.arange(count + 1)), (count, 7))
    features = seen_from(directions := torch.eye(width), model.encode(TEXTS))
    return NearestDocuments(model, Neighbours.of(directions, features, carried, 3))


@pytest.fixture(scope="module")
def blend() -> Blend:
    model, other = make_model().eval(), make_model("dense", "squared_hinge", intermediate="none").eval()
    members = [Member("a", 0.5, model), Member("b", 0.25, other), Member("neighbours", 0.25, nearest(model))]
    return Blend(members, LABELS, NAMES)


@pytest.fixture(scope="module")
def saved(blend: Blend, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blends") / "model"
    blend.save_pretrained(folder)
    return folder


def by_label(top: TopK, row: int) -> dict[int, float]:
    return dict(zip(top.labels[row].tolist(), top.scores[row].tolist(), strict=True))


def test_probabilities_are_weighted_sums(blend: Blend) -> None:
    lists = [(member.weight, member.ranker.ranking(TEXTS, 7)) for member in blend.members]
    top = blend.rank(TEXTS, 7)
    for row in range(len(TEXTS)):
        found = by_label(TopK(top.scores.sigmoid(), top.labels), row)
        for label in range(7):
            expected = sum(weight * by_label(one, row).get(label, 0) for weight, one in lists)
            assert found[label] == pytest.approx(expected, abs=1e-5)


def test_rankings_that_are_known_are_taken(blend: Blend) -> None:
    given = {member.name: member.ranker.ranking(TEXTS, 7) for member in blend.members}
    assert torch.equal(blend.rank(TEXTS, 5, given).scores, blend.rank(TEXTS, 5).scores)
    nothing = TopK(torch.zeros(len(TEXTS), 1), torch.full((len(TEXTS), 1), -1))
    assert blend.rank(TEXTS, 2, dict.fromkeys(given, nothing)).labels.unique().tolist() == [-1]


def test_predictions(blend: Blend) -> None:
    top = blend.rank(TEXTS[:2], 7)
    (first, second) = blend.predict(TEXTS[:2], k=7)
    assert [LABELS.index(p.label) for p in first] == top.labels[0].tolist()
    assert [p.logit for p in second] == top.scores[1].tolist()
    assert all(p.name == NAMES[LABELS.index(p.label)] for p in first)
    assert blend.predict(TEXTS[:2], k=7, threshold=first[2].score)[0] == first[:3]
    assert len(blend.predict(TEXTS[:1])[0]) == 5
    with pytest.raises(XMCError, match="a blend has no thresholds"):
        blend.predict(TEXTS, threshold="auto")
    with pytest.raises(XMCError, match="expected a string with at least one word"):
        blend.predict([" "])
    with pytest.raises(XMCError, match="expected a list of texts"):
        blend.predict("a text")
    assert blend.predict([]) == []


def test_an_empty_document_has_a_rank_too(blend: Blend) -> None:
    """As some documents of published sets."""
    top = blend.rank([TEXTS[0], "", TEXTS[1]], 5)
    assert torch.equal(top.labels[[0, 2]], blend.rank(TEXTS[:2], 5).labels)


def test_a_ranking_of_a_model_is_its_predictions() -> None:
    model = make_model()
    top = model.ranking(TEXTS, 7, batch_size=3)
    for row, labels in enumerate(model.predict(TEXTS, k=7)):
        assert [LABELS.index(p.label) for p in labels] == top.labels[row].tolist()
        assert [p.score for p in labels] == pytest.approx(top.scores[row].tolist())


def test_files_of_scores_know_no_new_text(tmp_path: Path) -> None:
    model = make_model().eval()
    files = ScoreFiles({"dev": "dev.jsonl"}, 0.5)
    blend = Blend([Member("a", 0.5, model), Member("xr", 0.5, files)], LABELS, NAMES)
    blend.save_pretrained(tmp_path)
    again = Blend.from_pretrained(tmp_path)
    assert again.members[1].ranker == files
    for ask in (again.check_new_texts, lambda: again.predict(TEXTS), lambda: again.encoder):
        with pytest.raises(XMCError, match=r"has scores of another tool \(xr\), which knows no new text; blend runs"):
            ask()
    given = {"xr": files.scaled(TopK(torch.tensor([[1.0, 0.5]]), torch.tensor([[3, 2]])))}
    assert torch.equal(again.rank(TEXTS[:1], 3, given).labels, blend.rank(TEXTS[:1], 3, given).labels)


def test_saved_and_read(blend: Blend, saved: Path) -> None:
    again = Blend.from_pretrained(saved)
    assert again.predict(TEXTS, k=7) == blend.predict(TEXTS, k=7)
    assert [(m.name, m.weight) for m in again.members] == [(m.name, m.weight) for m in blend.members]
    assert len(again.models) == 2 and sorted(p.name for p in (saved / "models").iterdir()) == ["0", "1"]
    assert {p.suffix for p in saved.rglob("*") if p.is_file()} <= {".json", ".jsonl", ".safetensors"}


def test_a_model_is_no_blend(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(XMCError, match="is a blend, which predict and evaluate take; give one of the runs"):
        XMCModel.from_pretrained(saved)
    make_model().save_pretrained(tmp_path)
    with pytest.raises(XMCError, match=r"xmc\.json: kind: Field required"):
        Blend.from_pretrained(tmp_path)
    with pytest.raises(XMCError, match="is no saved model"):
        Blend.from_pretrained(tmp_path / "nowhere")


def card(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        saved = json.loads((folder / "xmc.json").read_text())
        (folder / "xmc.json").write_text(json.dumps(saved | {"files": {}, "digest": ""} | changes))

    return edit


def other_labels(folder: Path) -> None:
    lines = (folder / "labels.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "labels.jsonl").write_bytes(b"".join(reversed(lines)))
    card()(folder)


A = {"name": "a", "weight": 1.0, "kind": "model", "model": 0}


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (card(members=[]), "members"),
        (card(members=[A | {"weight": 0.5}]), r"the weights are \[0.5\], not of sum 1"),
        (card(members=[A | {"model": 2}]), "a is of model 2, and there are 2"),
        (card(members=[A | {"kind": "files"}]), "members.0"),
        (card(models=3), "models/2 is missing"),
        (card(format_version=99), "has format 99"),
        (card(more=1), "more: Extra inputs"),
        (other_labels, "its models have other labels than labels.jsonl"),
        (lambda folder: (folder / "neighbours.safetensors").unlink(), "neighbours.safetensors"),
        (lambda folder: shutil.rmtree(folder / "models" / "1"), "models/1 is missing"),
        (lambda folder: (folder / "models" / "0" / "head.safetensors").write_bytes(b"0"), "head.safetensors"),
        (lambda folder: (folder / "labels.jsonl").open("a").write("\n"), "labels.jsonl is not what was saved"),
    ],
)
def test_whole_or_refused(edit: Callable[[Path], None], told: str, saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    edit(folder)
    with pytest.raises(XMCError, match=told) as refused:
        Blend.from_pretrained(folder)
    assert "\n" not in str(refused.value)
