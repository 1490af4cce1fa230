"""The page of made-up facts: nothing becomes markup, and what is missing is said."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from xmc.data.corpus import Corpus, Split
from xmc.run_report import Measured, Missing, RunFacts, history, measure_split, render
from xmc.types import TopK

EVIL = '</p><script>alert("1")</script>&amp;\x00 \ud800 <img src=//evil.example/x>'
CONFIG = {f"{part}.kind": part for part in ("data", "encoder", "classifier", "sparsity")}


def measured(labels: list[list[int]], calibrated: bool = False) -> Measured:
    truth = sp.csr_matrix(([1.0, 1, 1], ([0, 1, 1], [0, 1, 2])), shape=(2, 3))
    train = Split(["t1", "t2"], ["a", "b"], sp.csr_matrix(np.ones((2, 3))))
    dev = Split(["<id>", "d2"], [EVIL, "word " * 500], truth)
    corpus = Corpus("made up", {"train": train, "dev": dev}, ["0", "1", "2"], [EVIL, "one", "two"])
    scores = torch.tensor([[2.0, 1.0]] * 2)
    ranked = TopK(scores, torch.tensor(labels))
    return measure_split(
        *(ranked, scores.sigmoid(), corpus, "dev"),
        ks=(1, 2),
        A=0.55,
        B=1.5,
        replicates=50,
        seed=0,
        examples=1,
        calibrated=calibrated,
    )


def facts(name: str, of: Measured | Missing) -> RunFacts:
    return RunFacts(name, CONFIG, history([]), {}, of, Missing("no connections"), {})


class Reader(HTMLParser):
    """Tags, the addresses that they name, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.told = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]

    def handle_data(self, data: str) -> None:
        self.told += data


@pytest.fixture(scope="module")
def one() -> Measured:
    return measured([[1, 0], [1, 2]])


def test_no_text_becomes_markup(one: Measured) -> None:
    text = render([facts(EVIL, one)])
    read = Reader(text)
    assert read.tags.count("script") == 1 and "img" not in read.tags
    assert 'alert("1")' in read.told
    assert all(address.startswith("#") or address == "data:," for address in read.addresses)
    assert text.encode() and "default-src 'none'" in text


def test_best_and_worst_stand_with_their_labels(one: Measured) -> None:
    (best,), (worst,) = one.best, one.worst
    assert (best.id, best.truth) == ("d2", ("one", "two"))
    assert best.text.endswith("word …") and len(best.text) <= 602
    assert [(s.name, s.right) for s in worst.suggestions] == [("one", False), (EVIL, True)]


def test_what_is_missing_is_said() -> None:
    told = Reader(render([facts("old", Missing("no dev split here"))])).told
    assert told.count("no dev split here") == 4  # metrics, label frequency, confusions, documents
    for sentence in ("The run folder has no log.", "no connections", "The log follows no topology"):
        assert sentence in told


def test_curves_are_drawn_and_those_that_lack_are_said() -> None:
    log = [{"step": step, "loss": 1 / step, "lr/classifier": 0.1} for step in range(1, 40)]
    read = Reader(render([replace(facts("a", Missing("no dev")), history=history(log))]))
    assert read.tags.count("svg") == read.tags.count("polyline") == 2  # loss and rate
    assert "sum over labels, mean over documents" in read.told and "The log has no such figures." in read.told


def test_differences_of_several_runs_are_paired(one: Measured) -> None:
    other = measured([[0, 1], [1, 2]])
    told = Reader(render([facts("a", one), facts("b", other), facts("c", Missing("unfinished"))])).told
    assert "b \u2212 a" in told and "c \u2212 a" not in told and "c: unfinished" in told
    assert re.search(r"P@1.*?50\.00.*?100\.00.*?\+50\.00", told, flags=re.DOTALL)
    strange = replace(other, documents="another hash")
    told = Reader(render([facts("a", one), facts("b", strange)])).told
    assert "b \u2212 a" not in told and "cannot be paired" in told


def test_metrics_recorded_of_other_splits_stand_beside(one: Measured) -> None:
    told = Reader(render([replace(facts("a", one), recorded={"train": {"P@1": 0.876}})])).told
    assert "train @1" in told and "87.60" in told and "split=test alone" in told
    told = Reader(render([replace(facts("a", Missing("no dev")), recorded={"train": {"P@1": 0.876}})])).told
    assert "no dev" in told and "87.60" in told


def test_documents_stand_before_what_the_lab_wants_and_terms_are_explained(one: Measured) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", render([facts("a", one)]))
    assert titles[:2] == ["Metrics", "Documents"] and titles[-1] == "Terms"
    assert titles.index("Confused labels") < titles.index("Learning curves") < titles.index("Connections")
    assert "rare label counts more" in Reader(render([facts("a", one)])).told


def test_a_calibrated_model_shows_how_far_its_probabilities_can_be_trusted(one: Measured) -> None:
    calibrated = measured([[1, 0], [1, 2]], calibrated=True)
    assert calibrated.reliability is not None and sum(b.pairs for b in calibrated.reliability) == 4
    assert "Calibration" in Reader(render([facts("a", calibrated)])).told
    assert "Calibration" not in Reader(render([facts("a", one)])).told


def test_eight_runs_have_their_names_below_the_charts_and_their_differences_apart(one: Measured) -> None:
    log = history([{"step": step, "loss": 1.0 / step} for step in (1, 2, 3)])
    runs = [replace(facts(f"seed={i}+sparsity=set", one), history=log) for i in range(8)]
    page = render(runs)
    assert page.count('<ul class="legend">') >= 1 and page.count('<li class="c7">seed=7+sparsity=set</li>') >= 1
    assert 'class="name' not in page.split("Learning curves</h2>")[1].split("<h2>")[0]
    assert '<tr><td class="text">seed=7+sparsity=set</td>' in page
    assert "<summary>All metrics, with differences</summary>" in page
    assert "<summary>All metrics" not in render(runs[:4])
