import hashlib
import json
from pathlib import Path

import pytest
import torch
from test_config import composed

from xmc import factory
from xmc.config import TrainConfig, parse
from xmc.factory import training


def test_runs_from_before_a_key_go_on(tmp_path: Path) -> None:
    """The fingerprint that ties a checkpoint to its configuration is the one that was made when later keys were not."""
    (tmp_path / "train.jsonl").write_text('{"id": "1", "text": "a word", "labels": ["x"]}\n')
    values = composed(
        "data=jsonl", f"data.root={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}", "data.dev_fraction=0"
    )
    now = parse(TrainConfig, values)
    corpus = factory.load_corpus(now)
    settings = now.model_dump(mode="json", exclude={"run", "resume", "tracking", "data", "caution", "finish"})
    for key in ("logit_adjustment", "label_texts"):
        del values["trainer"][key], settings["trainer"][key]
        text = json.dumps(settings, sort_keys=True) + corpus.fingerprint
        before = parse(TrainConfig, values)
        assert factory.run_fingerprint(before, corpus) == hashlib.sha256(text.encode()).hexdigest()
    values["trainer"]["logit_adjustment"] = 0.2
    assert factory.run_fingerprint(parse(TrainConfig, values), corpus) != factory.run_fingerprint(before, corpus)


@pytest.mark.parametrize(
    ("total", "dev", "expected"),
    [
        (1000, 0, 100),  # ten times a run,
        (1000, 3_200, 100),
        (1000, 5_000, 167),  # fewer where dev is large,
        (1000, 10**6, 250),  # but four times
        (3, 10**6, 1),
    ],
)
def test_dev_is_read_as_often_as_it_is_cheap(total: int, dev: int, expected: int) -> None:
    config = parse(TrainConfig, composed("trainer.batch_size=64", f"trainer.max_steps={total}"))
    plan = training._build_plan(config, 10, dev, torch.device("cpu"))
    assert plan.eval_every == expected and plan.checkpoint_every == -(-total // 10)


def test_a_lexical_half_reads_words_without_an_embedding(tmp_path: Path) -> None:
    rows = ({"id": str(i), "text": f"common {word}", "labels": ["x"]} for i, word in enumerate(["rare", "lone"]))
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "labels.tsv").write_text("id\tname\nx\tA rare name\n")

    def words(*overrides: str) -> tuple[set[str], set[str]]:
        """All, and those that have an embedding."""
        folders = (f"data.root={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}")
        config = parse(TrainConfig, composed("data=jsonl", *folders, "data.dev_fraction=0", *overrides))
        corpus = factory.load_corpus(config)
        taught = corpus.with_label_texts() if config.trainer.label_texts else corpus
        encoder = factory.build_encoder(config, taught)
        vocabulary = {word: i for word, i in encoder.tokenizer.vocabulary.items() if word.isalpha()}
        rows = encoder.backbone.config.word_rows
        return set(vocabulary), {word for word, i in vocabulary.items() if i < rows}

    every = {"common", "rare", "lone", "a", "name"}
    assert words() == (every, {"common"})
    assert words("trainer.label_texts=true") == (every, {"common", "rare"})
    assert words("lexical=none") == words("lexical.words=0") == ({"common"}, {"common"})


def test_without_rarer_words_every_word_has_an_embedding(tmp_path: Path) -> None:
    """As in runs from before there were any, also a word that stands behind what is read of a text."""
    rows = ({"id": str(i), "text": f"near{i} yonder", "labels": ["x"]} for i in range(2))
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folders = (f"data.root={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}", "data.dev_fraction=0")
    config = parse(TrainConfig, composed("data=jsonl", *folders, "lexical.words=0", "encoder.max_length=1"))
    encoder = factory.build_encoder(config, factory.load_corpus(config))
    assert "yonder" in encoder.tokenizer.vocabulary
    assert encoder.backbone.config.word_rows == len(encoder.tokenizer)
