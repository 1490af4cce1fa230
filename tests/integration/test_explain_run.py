"""Reasons as a user asks for them, and whether the words that they name are those that count, on a real set."""

import gzip
import json
import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from harness import Run
from test_bad_input import fails

from xmc.model import XMCModel


def test_predict_explains(trained: Path, corpus: Path, xmc: Run) -> None:
    lines = xmc(
        "predict", f"run={trained}", f"input={corpus / 'test.jsonl'}", "explain=true", "k=1"
    ).stdout.splitlines()
    plain = xmc("predict", f"run={trained}", f"input={corpus / 'test.jsonl'}", "k=1").stdout.splitlines()
    own = 0
    for line, without in zip(lines, plain, strict=True):
        document = json.loads(line)
        (label,) = document["labels"]
        words = label.pop("words")
        assert document == json.loads(without) and 0 < len(words) <= 10
        weights = [abs(word["weight"]) for word in words]
        assert weights == sorted(weights, reverse=True)
        own += words[0]["word"] == label["label"].removeprefix("topic")  # of `word9a`, letters and digits apart
    assert own > 0.9 * len(lines)


@pytest.mark.parametrize("format", ["annif", "scores"])
def test_other_formats_have_no_place_for_reasons(trained: Path, corpus: Path, format: str, xmc: Run) -> None:
    given = (f"run={trained}", f"input={corpus / 'test.jsonl'}", "explain=true", f"format={format}")
    told = f"explain=true: format={format} has no place for reasons; give format=jsonl"
    assert told in fails(xmc, "predict", *given)


def without(text: str, words: set[str], model: XMCModel) -> str:
    """The text less these words, wherever they stand."""
    (reason,) = model.explain(text, [model.label_ids[0]])
    for term in reversed(reason.terms):
        if term.text.casefold() in words:
            text = text[: term.start] + text[term.end :]
    return text


def test_removing_the_words_that_speak_for_a_label_lowers_its_score(shared: Path, tmp_path: Path, xmc: Run) -> None:
    source = shared / "data" / "debtags"
    for split, count in (("train", 1500), ("dev", 100)):
        with gzip.open(source / f"{split}.jsonl.gz", "rt") as lines:
            chosen = islice(lines, 0, None, 10) if split == "train" else lines
            (tmp_path / f"{split}.jsonl").write_text("".join(islice(chosen, count)))
    options = (f"data.root={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}", f"run={tmp_path / 'run'}")
    xmc("train", "data=jsonl", *options, "encoder.width=64", "trainer.epochs=2", "trainer.threads=1")
    model = XMCModel.from_pretrained(tmp_path / "run" / "model")
    rng, drops = random.Random(0), []
    for line in (tmp_path / "dev.jsonl").read_text().splitlines()[:40]:
        text = json.loads(line)["text"]
        ((best, *_),) = model.predict([text], k=1)
        (reason,) = model.explain(text, [best.label])
        words = [word for word, weight in sorted(reason.words(len(reason.terms)), key=lambda w: -w[1])]
        if len(words) >= 8:
            shortened = [without(text, set(some), model) for some in (words[:3], rng.sample(words[3:], 3))]
            drops.append([reason.score - model.explain(one, [best.label])[0].score for one in shortened])
    of_named, of_others = np.mean(drops, axis=0)
    assert len(drops) > 30 and of_named > 1 and of_named > 3 * of_others
