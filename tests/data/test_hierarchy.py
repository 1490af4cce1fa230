"""Labels that imply others, in data and in rankings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xmc import XMCModel
from xmc.config import TrainConfig, parse, to_yaml
from xmc.config.compose import compose
from xmc.data.annif import AnnifData
from xmc.data.corpus import Corpus
from xmc.data.hierarchy import above
from xmc.data.table import JsonlData
from xmc.errors import XMCError
from xmc.model.hierarchy import implied, path_above
from xmc.model.prediction import Prediction
from xmc.run_report.facts import Measured
from xmc.run_report.page import _glance
from xmc.serve.native import _label
from xmc.types import TopK
from xmc.workflow.reporting import facts_of
from xmc.workflow.run_folder import corpus_of
from xmc.workflow.training import train_run

DOCUMENTS = [("wing", ["animals > birds > wrens"]), ("fin", ["animals > fish"]), ("leaf", ["plants"]), ("egg", [])]


def write(root: Path, times: int = 1) -> dict[str, Any]:
    root.mkdir(exist_ok=True)
    lines = [json.dumps({"text": f"{text} {text}", "labels": labels}) for text, labels in DOCUMENTS * times]
    (root / "train.jsonl").write_text("\n".join(lines))
    return {"root": str(root), "id_field": None, "cache_dir": str(root / "cache")}


def named(corpus: Corpus) -> list[set[str]]:
    return [{corpus.label_ids[label] for label in row.indices} for row in corpus.split("train").labels]


def test_labels_divided_by_a_separator(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = write(tmp_path / "set")
    plain, corpus = JsonlData(**given).load(), JsonlData(**given, parents=" > ").load()
    wrens = {"animals", "animals > birds", "animals > birds > wrens"}
    assert named(corpus) == [wrens, {"animals", "animals > fish"}, {"plants"}, set()]
    assert list(corpus.label_ids) == [*plain.label_ids, "animals", "animals > birds"]
    assert JsonlData(**given, parents=">").load().fingerprint == corpus.fingerprint != plain.fingerprint
    with pytest.raises(XMCError, match=r"data.parents=/: no label has '/' in it, such as 'animals > .*'; leave it out"):
        JsonlData(**given, parents="/").load()


TURTLE = """@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
<u:animals> a skos:Concept ; skos:prefLabel "Animals" ; skos:narrower <u:birds> .
<u:birds> a skos:Concept ; skos:prefLabel "Birds" ; skos:broader <u:gone> .
<u:wrens> a skos:Concept ; skos:prefLabel "Wrens" ; skos:broader <u:birds> .
"""


def test_broader_concepts_of_skos(tmp_path: Path) -> None:
    pytest.importorskip("rdflib")
    (tmp_path / "train.tsv").write_text("wing\t<u:wrens>\nfur\t<u:animals>\n")
    (tmp_path / "vocabulary.ttl").write_text(TURTLE)
    given: dict[str, Any] = {"root": str(tmp_path), "cache_dir": str(tmp_path / "cache")}
    corpus = AnnifData(**given, parents="broader").load()
    assert named(corpus) == [{"u:wrens", "u:birds", "u:animals"}, {"u:animals"}]
    assert list(corpus.label_names) == ["Animals", "Birds", "Wrens"]
    (tmp_path / "vocabulary.tsv").write_text("<u:wrens>\tWrens\n<u:animals>\tAnimals\n")
    with pytest.raises(XMCError, match=r"data.parents=broader: .*vocabulary.tsv is no SKOS, which alone tells it"):
        AnnifData(**given, parents="broader").load()


def test_all_that_is_above_a_label() -> None:
    parents = {"d": ["b", "c"], "b": ["a"], "c": ["a"], "x": ["gone"], "gone": ["a"], "y": ["z"], "z": ["y"]}
    ids = ["a", "b", "c", "d", "x", "y", "z"]
    pairs = above(ids, parents)
    assert [(ids[low], ids[high]) for low, high in pairs] == [
        *(("b", "a"), ("c", "a"), ("d", "a"), ("d", "b"), ("d", "c"), ("x", "a"), ("y", "z"), ("z", "y"))
    ]
    assert above(["a", "b"], {}).shape == (0, 2)
    assert path_above(3, torch.from_numpy(pairs)) == [0, 1, 2]


@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_a_ranking_is_that_of_all_scores(k: int) -> None:
    """The definition: each label's score is the best of itself and of all below it."""
    rng = np.random.default_rng(k)
    pairs = above([str(i) for i in range(7)], {"3": ["1"], "1": ["0"], "4": ["1", "2"], "6": ["5"]})
    scores = torch.from_numpy(rng.standard_normal((40, 7)).astype(np.float32))
    best = scores.topk(k)
    found = implied(TopK(best.values, best.indices), torch.from_numpy(pairs), k)
    whole = scores.clone()
    for low, high in pairs:
        whole[:, high] = torch.maximum(whole[:, high], scores[:, low])
    order = torch.argsort(-whole, dim=1, stable=True)[:, :k]
    assert torch.equal(found.scores, whole.gather(1, order)) and torch.equal(found.labels, order)


def test_lists_that_are_not_full() -> None:
    top = TopK(torch.tensor([[2.0, -torch.inf], [-torch.inf, -torch.inf]]), torch.tensor([[1, -1], [-1, -1]]))
    found = implied(top, torch.tensor([[1, 0]]), 2)
    assert found.labels.tolist() == [[0, 1], [-1, -1]] and found.scores[0].tolist() == [2, 2]
    assert implied(top, torch.zeros(0, 2, dtype=torch.int64), 2).labels.tolist() == [[1, -1], [-1, -1]]


def test_an_answer_has_what_is_above_a_label() -> None:
    told = {"label": "u:1", "name": "Wrens", "score": 0.5}
    assert _label(Prediction("u:1", "Wrens", 0.5, 0.0)) == told
    assert _label(Prediction("u:1", "Wrens", 0.5, 0.0, above=["Birds"])) == told | {"above": ["Birds"]}


def test_a_model_implies_what_it_learned(tmp_path: Path) -> None:
    given = write(tmp_path / "set", times=20)
    options = ["data=jsonl", f"data.root={given['root']}", f"data.cache_dir={given['cache_dir']}", "data.id_field=null"]
    options += ["encoder.width=16", "classifier.fan_in=8", "trainer.epochs=4", "trainer.threads=1", "data.parents= > "]
    config = parse(TrainConfig, compose([*options, f"run={tmp_path / 'run'}"]))
    train_run(config, to_yaml(config))
    model = XMCModel.from_pretrained(tmp_path / "run" / "model")
    for row in model.predict(["wing wing", "fin fin"], k=5):
        score = {p.label: p.score for p in row}
        assert score["animals"] >= max(score[label] for label in score if label.startswith("animals"))
        paths = {p.label: list(p.above) for p in row}
        assert paths.get("animals > birds > wrens", ["animals", "animals > birds"]) == ["animals", "animals > birds"]
    assert corpus_of(model, config).parents and model.above is not None and len(model.above) == 4
    few: dict[str, int] = {"replicates": 10, "seed": 0, "examples": 1}
    facts = facts_of("a", tmp_path / "run", config, torch.device("cpu"), "train", 64, **few)
    assert isinstance(facts.measured, Measured) and facts.measured.above == 2
    details = {name: detail for name, _, detail in _glance(facts)}
    assert details["labels"].startswith("2 of them above others, ")
    model.above[0, 1] = 9
    model.save_pretrained(tmp_path / "bad")
    with pytest.raises(XMCError, match="the labels above others are none of the model's 5"):
        XMCModel.from_pretrained(tmp_path / "bad")
