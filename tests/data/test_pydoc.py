import re
import sys
import warnings
from pathlib import Path

import pytest

from xmc.data.corpus import Corpus
from xmc.data.pydoc import PydocData
from xmc.errors import XMCError


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return PydocData().read()


@pytest.fixture
def noisy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package that prints, warns, changes the interpreter, and has a submodule that exits."""
    package = tmp_path / "noisypackage"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os, sys, warnings\nprint('printed')\nos.write(2, b'written')\nwarnings.warn('warned')\n"
        "warnings.simplefilter('error')\nsys.path.append('/nowhere')\nos.environ['NOISY'] = '1'\n"
        "def greet(person, greeting):\n    '''Greet somebody in a friendly way.'''\n"
        "def _hidden(x):\n    '''Nobody reads this docstring.'''\n"
    )
    (package / "leaves.py").write_text("raise SystemExit(3)\n")
    (package / "broken.py").write_text("1 / 0\n")
    (package / "works.py").write_text(
        "class Door:\n    '''Opens and closes when asked.'''\n    def __init__(self, width): ...\n"
        "    def open(self, how_far):\n        '''Open the door a little.'''\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "noisypackage"


def test_size(corpus: Corpus) -> None:
    train, test = corpus.split("train"), corpus.split("test")
    assert 3_500 < len(train) + len(test) < 6_500
    assert 1_400 < len(corpus.label_ids) < 2_800
    assert 0.15 < len(test) / (len(train) + len(test)) < 0.25
    assert corpus.label_counts("train").sum() / len(train) > 2


def test_labels_are_modules_and_parameters(corpus: Corpus) -> None:
    ids = [*corpus.split("train").ids, *corpus.split("test").ids]
    assert len(ids) == len(set(ids))
    split = next(part for part in corpus.splits.values() if "json.dumps" in part.ids)
    row = list(split.ids).index("json.dumps")
    labels = {corpus.label_ids[label] for label in split.labels[row].indices}
    assert {"module:json", "parameter:obj", "parameter:indent", "parameter:sort_keys"} <= labels
    names = dict(zip(corpus.label_ids, corpus.label_names, strict=True))
    assert names["module:json"] == "module json"
    assert names["parameter:indent"] == "parameter indent"


def test_no_parameter_list_is_left(corpus: Corpus) -> None:
    for split in corpus.splits.values():
        for id_, text in zip(split.ids, split.texts, strict=True):
            name = re.escape(id_.rpartition(".")[2])
            assert not re.search(rf"\b{name}\([^()]+\)", text), (id_, text)
            assert not re.search(r"^\s*:param\b|^\s*Parameters\n\s*---|^\s*Args:\n", text, re.MULTILINE), (id_, text)
            assert len(text.split()) >= 3


def test_no_text_twice(corpus: Corpus) -> None:
    texts = [*corpus.split("train").texts, *corpus.split("test").texts]
    assert len(texts) == len(set(texts))


def test_excluded_modules_and_private_names_are_absent(corpus: Corpus) -> None:
    for label in corpus.label_ids:
        kind, _, name = label.partition(":")
        assert kind in ("module", "parameter")
        assert not name.startswith("_")
        if kind == "module":
            assert name.split(".")[0] not in {
                "antigravity",
                "this",
                "idlelib",
                "tkinter",
                "turtle",
                "turtledemo",
                "test",
            }


def test_deterministic(corpus: Corpus) -> None:
    assert PydocData().read().fingerprint == corpus.fingerprint


def test_packages_widen_and_nothing_else_changes(noisy: str, corpus: Corpus, capfd: pytest.CaptureFixture[str]) -> None:
    before = (list(sys.path), list(warnings.filters), set(sys.modules))
    wider = PydocData(packages=(noisy,)).read()
    assert (list(sys.path), list(warnings.filters)) == before[:2]
    assert not {noisy, "antigravity", "smtpd"} & (set(sys.modules) - before[2])
    assert capfd.readouterr() == ("", "")
    ids = {id_ for split in wider.splits.values() for id_ in split.ids}
    known = {id_ for split in corpus.splits.values() for id_ in split.ids}
    assert ids - known == {"noisypackage.greet", "noisypackage.works.Door", "noisypackage.works.Door.open"}
    assert {"module:noisypackage.works", "parameter:how_far", "parameter:person"} <= set(wider.label_ids)


def test_unknown_package() -> None:
    with pytest.raises(XMCError, match=r"no package 'nunpy' is installed \(did you mean 'numpy'"):
        PydocData(packages=("nunpy",)).read()


def test_package_without_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brokenpackage.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(XMCError, match="'brokenpackage' cannot be imported or has no public docstring; leave it out"):
        PydocData(packages=("brokenpackage",)).read()
