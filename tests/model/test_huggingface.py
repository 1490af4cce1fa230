"""Nothing of a foreign model is fetched or run, and each is whole or refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hostile import SORTS, Sort
from huggingface_hub import constants
from transformers import dynamic_module_utils

from xmc.errors import XMCError
from xmc.model.bag import BagConfig, BagModel
from xmc.model.encoder import Encoder
from xmc.model.huggingface import load_backbone, meta_backbone
from xmc.model.sparse_features import SparseFeaturesConfig, SparseFeaturesModel, SparseFeaturesTokenizer
from xmc.model.sparse_ift import SparseIFT, sparsify_feed_forward_
from xmc.model.word_tokenizer import WordTokenizer
from xmc.sparsity.topology import init_index

KINDS = ("transformer", "transformed", "lexical", "bag", "sparse_features")
REFUSED_BY_THEIR_WEIGHTS = ("pickled", "shards")
HARMLESS = ("generation_code", "kernel", "model_code_of_a_known_type")  # loaded without what they name


def save_encoder(kind: str, bert_folder: Path, folder: Path) -> None:
    torch.manual_seed(0)
    if kind == "bag":
        tokenizer = WordTokenizer.learned(["open the file", "close the file"] * 2, 50)
        encoder = Encoder(
            BagModel(BagConfig(len(tokenizer), 0, hidden_size=8)), tokenizer, pooling="none", max_length=16
        )
    elif kind == "sparse_features":
        model = SparseFeaturesModel(SparseFeaturesConfig(num_features=9, hidden_size=8))
        encoder = Encoder(model, SparseFeaturesTokenizer(9), pooling="none", max_length=16)
    else:
        backbone, words = load_backbone(str(bert_folder))
        transformation, lexical = None, None
        if kind == "transformed":
            transformation = SparseIFT("wide", 0.5)
            sparsify_feed_forward_(backbone, transformation, lambda o, k, i: init_index(o, k, i, 0))
        if kind == "lexical":
            lexical = BagModel(BagConfig(len(words), 0, hidden_size=6))
        encoder = Encoder(backbone, words, pooling="mean", max_length=8, transformation=transformation, lexical=lexical)
    encoder.save_pretrained(folder)


@pytest.fixture(scope="module")
def saved(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a saved encoder of a kind, written once."""
    folder = tmp_path_factory.mktemp("saved")

    def of(kind: str) -> Path:
        if not (folder / kind).exists():
            save_encoder(kind, bert_folder, folder / kind)
        return folder / kind

    return of


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that were asked; each is answered by yes."""
    questions: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question="": questions.append(question) or "y")
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", "/nowhere")
    return questions


@pytest.mark.parametrize("sort", SORTS, ids=lambda sort: sort.__name__)
@pytest.mark.parametrize("kind", [*KINDS, "pretrained", "estimated"])
def test_nothing_of_a_folder_runs(
    kind: str, sort: Sort, saved: Callable[[str], Path], bert_folder: Path, tmp_path: Path, asked: list[str]
) -> None:
    folder, marker = tmp_path / "encoder", tmp_path / "marker"
    shutil.copytree(saved(kind) if kind in KINDS else bert_folder, folder)
    sort(folder / "lexical" if kind == "lexical" and sort.__name__.startswith("shards") else folder, marker)
    load = {"pretrained": load_backbone, "estimated": meta_backbone}.get(
        kind, lambda name: Encoder.from_pretrained(Path(name))
    )
    error, before = None, (constants.HF_HUB_OFFLINE, dynamic_module_utils.TIME_OUT_REMOTE_CODE)
    try:
        load(str(folder))
    except XMCError as refused:
        error = str(refused)
        assert "\n" not in error and str(folder) in error
    assert not marker.exists() and not asked
    if sort.__name__.startswith(REFUSED_BY_THEIR_WEIGHTS) and kind != "estimated":
        assert error is not None
    if sort.__name__ in HARMLESS:
        assert error is None
    assert before == (constants.HF_HUB_OFFLINE, dynamic_module_utils.TIME_OUT_REMOTE_CODE)


@pytest.mark.parametrize(
    ("sort", "said"),
    [
        ("shards_in_a_pickle", r"names 'evil.bin'; expected safetensors files beside it"),
        ("shards_above", r"names '../above.safetensors'; expected safetensors files beside it"),
        ("shards_missing", "names model-00001-of-00001.safetensors, which is missing"),
        ("pickled_weights", "has no model.safetensors; expected weights in safetensors"),
        ("adapter", "has an adapter; merge it into its model"),
        ("quantized", "config.json has quantization_config"),
        ("code_of_a_processor", "tokenizer_class 'AutoProcessor' is no tokenizer"),
    ],
)
def test_what_is_said(sort: str, said: str, saved: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(saved("transformer"), tmp_path / "encoder")
    next(s for s in SORTS if s.__name__ == sort)(tmp_path / "encoder", tmp_path / "marker")
    with pytest.raises(XMCError, match=said):
        Encoder.from_pretrained(tmp_path / "encoder")
