"""Reasons of what is not linear, by integrated gradients."""

import sys
from pathlib import Path

import pytest
import torch
from test_explain import IDS
from test_model import make_model

from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.bag import BagConfig, BagModel
from xmc.model.dense import Dense
from xmc.model.encoder import Encoder
from xmc.model.explanation.explain import numbers_of
from xmc.model.explanation.network import said_by_network
from xmc.model.explanation.tokens import tokens_of
from xmc.model.huggingface import load_backbone
from xmc.model.intermediate import Identity, Linear

TEXT = "Open a file: bcd, module!"


def transformer(
    folder: Path, *, layers: int = 1, pooling: str = "mean", bag: bool = False, wide: bool = False
) -> XMCModel:
    torch.manual_seed(0)
    backbone, tokenizer = load_backbone(str(folder))
    lexical = BagModel(BagConfig(len(tokenizer), 0, hidden_size=8)) if bag else None
    encoder = Encoder(backbone, tokenizer, pooling=pooling, max_length=32, layers=layers, lexical=lexical)  # type: ignore[arg-type]
    layer = Linear(encoder.width, 24, "gelu") if wide else Identity(encoder.width)
    classifier = Dense(layer.width, 7, generator=torch.Generator().manual_seed(0))
    return XMCModel(encoder, layer, classifier, label_ids=IDS, label_names=IDS, loss="bce").eval()


@pytest.mark.parametrize(
    "parts",
    [{}, {"pooling": "cls"}, {"layers": 3}, {"bag": True}, {"wide": True}, {"bag": True, "wide": True}],
    ids=str,
)
def test_words_add_up_to_the_rise_from_a_masked_text(bert_folder: Path, parts: dict[str, object]) -> None:
    pytest.importorskip("captum")
    model = transformer(bert_folder, **parts)  # type: ignore[arg-type]
    with torch.no_grad():
        said = said_by_network(model, tokens_of(TEXT, model.encoder), numbers_of(IDS, IDS))
    rise = said.scores - said.empty
    assert abs(rise).max() > 1e-3 and said.weights.sum(axis=0) == pytest.approx(rise, abs=0.02 * abs(rise).max())
    (predicted,) = model.predict([TEXT], k=7)
    for p, reason in zip(predicted, model.explain(TEXT, [p.label for p in predicted]), strict=True):
        assert reason.score == pytest.approx(p.logit, abs=1e-4)
        assert [term.text for term in reason.terms] == ["Open", "a", "file", "bcd", "module"]  # no piece, no comma


def test_a_layer_behind_a_bag_is_explained_along_the_path() -> None:
    pytest.importorskip("captum")
    model = make_model("dense").eval()
    text = "open the dog"
    with torch.no_grad():
        said = said_by_network(model, tokens_of(text, model.encoder), numbers_of(IDS, IDS))
    assert said.weights.sum(axis=0) == pytest.approx(said.scores - said.empty, abs=1e-2)
    (predicted,) = model.predict([text], k=1)
    (reason,) = model.explain(text, [predicted[0].label])
    assert reason.score == pytest.approx(predicted[0].logit, abs=1e-4)


def test_without_captum_the_way_out_is_told(bert_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(XMCError, match=r"needs captum: pip install 'xmc\[explain\]'"):
        transformer(bert_folder).explain(TEXT, ["l1"])
