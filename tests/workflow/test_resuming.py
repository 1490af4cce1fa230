"""Whatever the files, the shards and the kills: the lines are the same."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain, islice, pairwise, zip_longest
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmc.data.documents import read_documents
from xmc.data.sources import Sources
from xmc.errors import XMCError
from xmc.model import Prediction
from xmc.values import PredictionFormat
from xmc.workflow import resuming
from xmc.workflow.predicting import Ranked, of_shard, predict_documents
from xmc.workflow.resuming import check_not_begun, manifest_of, resumable
from xmc.workflow.sinks import write_predictions

LABELS = [f"l{i}" for i in range(6)]
FORMATS: list[PredictionFormat] = ["jsonl", "csv", "parquet", "scores", "annif"]


class Namer:
    """A model that gives a text the labels that it names, with scores that tell which batch it was in."""

    label_ids = LABELS

    def default_k(self, threshold: object) -> int:
        return 3

    def predict(self, texts: list[str], k: int, batch_size: int, threshold: object) -> list[list[Prediction]]:
        score = 1 / (3 + sum(map(ord, "".join(texts))))
        return [[Prediction(label, f"n {label}", score, -1 / 3 - score) for label in text.split()] for text in texts]


class Killed(Exception):
    """The process ends here."""


def predicted(input: Path, batch_size: int, done: int, shard: int, shards: int) -> Iterable[Ranked | XMCError]:
    documents = read_documents(Sources([str(input)]), ["text"], on_error="skip")
    mine = islice(of_shard(documents, f"{shard + 1}/{shards}", batch_size), done, None)
    return predict_documents(Namer(), mine, k=None, batch_size=batch_size)  # type: ignore[arg-type]


def killed_after(documents: Iterable[Ranked | XMCError], count: int, folder: Path, left: Path) -> Iterator[Ranked]:
    """The documents; after so many the disk as it then is, which is all that a kill leaves, is copied to `left`."""
    for number, document in enumerate(documents):
        if number == count:
            shutil.copytree(folder, left)
            raise Killed
        yield document  # type: ignore[misc]


def run(
    folder: Path, input: Path, format: PredictionFormat, batch_size: int, kills: list[int], shard: int, shards: int
) -> Path:
    """The folder in which the output lies in the end."""
    folder.mkdir()
    for number, after in enumerate([*kills, None]):
        output, left = folder / "out", folder.with_name(f"{folder.name}-{number}")
        try:
            with resumable(str(output), {"k": 3}) as journal:
                rest = predicted(input, batch_size, journal.documents, shard, shards)
                given = rest if after is None else killed_after(rest, after, folder, left)
                journal.extend(lambda _, given=given: given, batch_size)  # type: ignore[misc]
                journal.finish(write_predictions(journal, str(output), format, LABELS, str(folder / "errors")))
                return folder
        except Killed:
            folder = left
    raise AssertionError


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.sampled_from(["l1", "l2 l3", "", "l0 l4 l5"]), min_size=1, max_size=25).filter(any),
    cuts=st.lists(st.integers(0, 25), max_size=3),
    batch_size=st.integers(1, 5),
    kills=st.lists(st.integers(0, 24), max_size=3),
    shards=st.integers(1, 3),
    format=st.sampled_from(FORMATS),
)
def test_any_files_shards_and_kills_give_the_same(
    texts: list[str], cuts: list[int], batch_size: int, kills: list[int], shards: int, format: PredictionFormat
) -> None:
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setattr(resuming, "_EVERY", 0)
        folder = Path(temporary)
        lines = [json.dumps({"id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(texts)]
        ends = sorted({min(cut, len(lines)) for cut in cuts} | {0, len(lines)})
        for name, files in (("one", [lines]), ("many", [lines[a:b] for a, b in pairwise(ends)])):
            (folder / name).mkdir()
            for i, part in enumerate(files):
                (folder / name / f"{i}.jsonl").write_text("".join(part))
        merged = []
        for shard in range(shards):
            direct = predicted(folder / "one", batch_size, 0, shard, shards)
            write_predictions(direct, str(folder / "whole"), format, LABELS, str(folder / "whole-errors"))
            end = run(folder / f"shard{shard}", folder / "many", format, batch_size, kills, shard, shards)
            assert (end / "out").read_bytes() == (folder / "whole").read_bytes()
            left = {path.name for path in end.iterdir() if not path.name.startswith(".")}
            assert left == {"out", "errors", "out.manifest.json"}
            told, expected = (len(path.read_text().splitlines()) for path in (end / "errors", folder / "whole-errors"))
            assert told == expected
            merged.append(list(predicted(folder / "one", batch_size, 0, shard, shards)))
        whole = list(predicted(folder / "one", batch_size, 0, 0, 1))
        batches = [[part[at : at + batch_size] for at in range(0, len(part), batch_size)] for part in merged]
        in_turn = (batch for row in zip_longest(*batches, fillvalue=()) for batch in row)
        assert [*map(str, chain.from_iterable(in_turn))] == [*map(str, whole)]


def begin(output: Path, **work: object) -> int | None:
    with resumable(str(output), work) as journal:
        if journal.written is None:
            journal.extend(lambda done: [("a", [Prediction("l1", "n", 0.25, -1.0, [("word", 0.5)])])], 1)
            journal.finish(write_predictions(journal, str(output), "jsonl", LABELS))
            return None
        return journal.written


def test_what_is_finished_is_left_alone_and_other_work_refused(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert begin(output, k=3, input="x", model="y") is None
    assert '"words": [{"word": "word", "weight": 0.5}]' in output.read_text()
    assert begin(output, k=3, input="x", model="y") == 1
    for work, told in [
        (
            {"k": 4, "input": "x", "model": "y"},
            r"was begun with k=3 \(now k=4\); give another output, or remove .*json",
        ),
        ({"k": 3, "input": "z", "model": "y"}, "was begun with another input, or it has changed since; give another"),
        ({"k": 5, "input": "x", "model": "z"}, r"k=3 \(now k=5\) and another model, or it has changed since"),
    ]:
        with pytest.raises(XMCError, match=told):
            begin(output, **work)
    with pytest.raises(XMCError, match="is of a run that can go on; add resume=true"):
        check_not_begun(str(output))
    text = output.read_text()
    output.unlink()
    assert begin(output, k=3, input="x", model="y") is None and output.read_text() == text
    output.write_text("else")
    with pytest.raises(XMCError, match="was changed since it was finished"):
        begin(output, k=3, input="x", model="y")


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2}', '{"version": 1, "work": {}, "state": {"a": 1}}'])
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    manifest_of(tmp_path / "out").write_text(text)
    with pytest.raises(XMCError, match=r"out\.manifest\.json"):
        begin(tmp_path / "out")


def test_whole_batches_that_are_kept_are_not_made_again(tmp_path: Path) -> None:
    def stopped(done: int) -> Iterator[Ranked]:
        told.append(done)
        yield from [(f"d{i}", []) for i in range(done, 5)]
        raise KeyboardInterrupt

    told: list[int] = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), resumable(str(tmp_path / "out"), {}) as journal:
            journal.extend(stopped, 2)
    assert told == [0, 4]


def test_a_journal_that_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(done: int) -> Iterator[Ranked]:
        yield "a", []
        raise RuntimeError

    with pytest.raises(RuntimeError), resumable(str(tmp_path / "out"), {}) as journal:
        journal.extend(failing, 1)
    (tmp_path / "out.partial").write_text("")
    with pytest.raises(XMCError, match=r"out\.partial is shorter than it was"):
        begin(tmp_path / "out")
