import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.bag import BagConfig, BagModel
from xmc.model.classifier import Classifier, FixedFanIn
from xmc.model.dense import Dense
from xmc.model.encoder import Encoder
from xmc.model.intermediate import Identity, Linear
from xmc.model.sparse_ift import SparseIFT
from xmc.model.word_tokenizer import WordTokenizer
from xmc.ops.fan_in import resolve_backend
from xmc.sparsity.topology import init_index
from xmc.values import LossName

TEXTS = ["open the file", "close the file", "the cat sat", "a dog ran home"] * 2
NAMES = ["plain", "tab\there", "line\u2028separator", "next\u0085line", 'quote"d', "ümlaut", "new\nline"]


def make_model(kind: str = "fixed_fan_in", loss: LossName = "bce", intermediate: str = "dense") -> XMCModel:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    tokenizer = WordTokenizer.learned(TEXTS, 50)
    encoder = Encoder(
        BagModel(BagConfig(len(tokenizer), 0, hidden_size=8)), tokenizer, pooling="none", max_length=16, dropout=0.5
    )
    layer: Linear | Identity = Identity(8)
    if intermediate != "none":
        transformation = None if intermediate == "dense" else SparseIFT("doped", 0.5)
        layer = Linear(8, 12, "relu", 0.1, transformation, index_of=partial(init_index, seed=0))
    classifier: Classifier = Dense(layer.width, 7, generator=generator)
    if kind == "fixed_fan_in":
        index = init_index(7, 4, layer.width, 0)
        classifier = FixedFanIn(layer.width, index, backend=resolve_backend("cpu")[0], generator=generator)
    elif kind == "groups":
        index, order = init_index(3, 4, layer.width, 0), torch.tensor([4, 1, 6, 0, 2, 5, 3])
        backend = resolve_backend("cpu")[0]
        classifier = FixedFanIn(layer.width, index, backend=backend, generator=generator, order_L=order)
    return XMCModel(encoder, layer, classifier, label_ids=[f"l{i}" for i in range(7)], label_names=NAMES, loss=loss)


@pytest.mark.parametrize("kind", ["fixed_fan_in", "groups", "dense"])
@pytest.mark.parametrize("loss", ["bce", "squared_hinge"])
@pytest.mark.parametrize("intermediate", ["none", "dense", "doped"])
def test_round_trip(tmp_path: Path, kind: str, loss: LossName, intermediate: str) -> None:
    model = make_model(kind, loss, intermediate)
    model.save_pretrained(tmp_path / "model")
    again = XMCModel.from_pretrained(tmp_path / "model")
    assert again.label_names == NAMES
    assert again.predict(TEXTS[:3], k=7) == model.predict(TEXTS[:3], k=7)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize("training", [True, False])
def test_prediction_leaves_the_mode(training: bool) -> None:
    """And has no dropout, even where only a part of the model is in training."""
    model = make_model().train(training)
    model.encoder.train()
    first = model.predict(TEXTS, k=7)
    assert all(module.training == training for module in model.modules())
    model.eval()
    assert model.predict(TEXTS, k=7) == first


@pytest.mark.parametrize("kind", ["fixed_fan_in", "groups", "dense"])
def test_an_adjustment_of_the_logits_is_saved(tmp_path: Path, kind: str) -> None:
    model = make_model(kind)
    plain = model.predict(TEXTS[:3], k=7)
    model.classifier.adjust_logits(torch.arange(7), 20, 0.3)
    model.logit_adjustment = 0.3
    model.save_pretrained(tmp_path)
    again = XMCModel.from_pretrained(tmp_path)
    assert again.predict(TEXTS[:3], k=7) == model.predict(TEXTS[:3], k=7) != plain
    assert again.logit_adjustment == 0.3


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_the_umask_decides_who_reads_a_model(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_model().save_pretrained(tmp_path / "model")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert modes == {0o666 & ~umask}


def test_predictions_are_ranked_and_do_not_depend_on_the_batch() -> None:
    model = make_model()
    alone = [model.predict([text], k=7)[0] for text in TEXTS]
    for one, many in zip(alone, model.predict(TEXTS, k=7, batch_size=3), strict=True):
        assert [p.label for p in one] == [p.label for p in many]
        assert [p.score for p in one] == pytest.approx([p.score for p in many], abs=1e-6)
        scores = [p.score for p in one]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)


def test_more_labels_asked_for_than_there_are() -> None:
    assert len(make_model().predict(["the file"], k=100)[0]) == 7


def test_predicting_leaves_the_training_mode_alone() -> None:
    model = make_model().train()
    model.predict(["the file"])
    assert model.training


@pytest.mark.parametrize(
    ("texts", "told"), [("the file", "wrap a single one"), (["a", " "], "text 1 is ' '"), ([None], "text 0 is None")]
)
def test_bad_texts(texts: list[str], told: str) -> None:
    with pytest.raises(XMCError, match=told):
        make_model().predict(texts)


class Table(list[str]):
    """What a DataFrame gives: the names of its columns, one by one."""

    columns = ("title", "text")


@pytest.mark.parametrize("table", [Table(["title", "text"]), {"text": ["the file"]}])
def test_a_table_is_no_texts(table: Any) -> None:
    model = make_model()
    told = r'frame\["text"\]\.tolist\(\)'
    with pytest.raises(XMCError, match=told):
        model.predict(table)
    with pytest.raises(XMCError, match=told):
        model.encode(table)
    with pytest.raises(XMCError, match=told):
        model.explain(table, labels=["l0"])


def test_no_texts() -> None:
    assert make_model().predict([]) == []


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(XMCError, match=r"is no saved model \(xmc.json is missing\)"):
        XMCModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["head.safetensors", "labels.jsonl", "encoder/config.json", "encoder/pooling.json"])
def test_a_folder_that_is_not_whole(tmp_path: Path, name: str) -> None:
    make_model().save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(XMCError, match=f"is not whole: {name} is missing"):
        XMCModel.from_pretrained(tmp_path)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    card = json.loads((tmp_path / "xmc.json").read_text())
    (tmp_path / "xmc.json").write_text(json.dumps(card | {"format_version": 99}))
    with pytest.raises(XMCError, match="has format 99"):
        XMCModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("loss", ["bce", "squared_hinge"])
def test_bias_starts_at_the_label_frequency(loss: LossName) -> None:
    """A label on half of the documents starts at probability one half, by either loss."""
    model = make_model(loss=loss)
    model.classifier.init_bias(torch.full((7,), 50), 100, loss)
    assert model.probability(model.classifier.bias).tolist() == pytest.approx([0.5] * 7, abs=1e-6)
    model.classifier.init_bias(torch.zeros(7, dtype=torch.int64), 100, loss)
    assert model.probability(model.classifier.bias).tolist() == pytest.approx([0.5 / 101] * 7, abs=1e-6)
