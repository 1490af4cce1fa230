"""A lexical half is learned once for all runs that read the same tokens, and comes back as it was learned."""

from pathlib import Path

import pytest
import torch

from xmc import factory
from xmc.config import TrainConfig, parse
from xmc.config.compose import compose
from xmc.model.lexical import LexicalHalf
from xmc.model.lexical_file import save_half

pytest.importorskip("optuna")

from xmc.commands.tune.halves import Halves
from xmc.commands.tune.study import Study


def config(tmp_path: Path, *overrides: str) -> TrainConfig:
    data = ["data=synthetic", "data.num_labels=20", "data.num_documents=200", f"data.cache_dir={tmp_path / 'cache'}"]
    return parse(TrainConfig, compose([*data, "run=there", *overrides]))


def bits(half: LexicalHalf | None, path: Path) -> bytes:
    assert half is not None
    save_half(half, path)
    return path.read_bytes()


def test_a_half_is_learned_once_for_what_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = config(tmp_path)
    corpus = factory.load_corpus(own)
    study = Study(tmp_path / "study.db")
    halves = Halves(tmp_path / "halves", study, corpus, seed=0)
    assert halves.seconds(own) == 0, "nothing is known yet"
    learned = bits(halves.of(own), tmp_path / "learned")
    (folder,) = (tmp_path / "halves").iterdir()
    at_once = factory.build_lexical_half(own, factory.build_encoder(own, corpus), corpus)
    assert learned == bits(at_once, tmp_path / "at_once")
    longer = config(tmp_path, "encoder.max_length=7")
    assert halves.seconds(own) == 0 < halves.seconds(longer)

    monkeypatch.setattr(factory, "build_lexical_half", lambda *of_it: pytest.fail("learned again"))
    of_network = ["encoder.width=8", "encoder.bigrams=5", "encoder.term_dropout=0.4", "trainer.epochs=9", "seed=3"]
    torch.manual_seed(5)
    again = Halves(tmp_path / "halves", study, corpus, seed=0).of(config(tmp_path, *of_network))
    assert bits(again, tmp_path / "again") == learned
    assert [*(tmp_path / "halves").iterdir()] == [folder]
    for other in ("encoder.max_length=7", "trainer.label_texts=true", "lexical.passes=3"):
        with pytest.raises(pytest.fail.Exception, match="learned again"):
            halves.of(config(tmp_path, other))


def test_there_is_none_where_none_is_wanted(tmp_path: Path) -> None:
    without = config(tmp_path, "lexical=none")
    halves = Halves(tmp_path / "halves", Study(tmp_path / "study.db"), factory.load_corpus(without), seed=0)
    assert halves.of(without) is None and halves.seconds(without) == 0
    assert not (tmp_path / "halves").exists()
