"""Answers from batches are those of single documents, to the bit."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from served import TEXTS, make_model, running

from xmc.model import Blend, XMCModel
from xmc.model.blend import Member
from xmc.model.classifier import FixedFanIn
from xmc.model.encoder import Encoder
from xmc.model.huggingface import load_backbone
from xmc.model.intermediate import Identity
from xmc.model.lexical import LexicalHalf, Terms
from xmc.serve.models import Models, Suggest, independent
from xmc.sparsity.topology import init_index
from xmc.train.lexical import LexicalRecipe, learn_lexical_half

WORDS = sorted({word for text in TEXTS for word in text.split()})


def texts(number: int) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 40))) for _ in range(number)]


def half_of(model: XMCModel) -> LexicalHalf:
    ids, mask, _ = model.encoder.tokenize(TEXTS)
    terms = Terms.learned(len(model.encoder.tokenizer), np.zeros(0, np.int64), [0, 1], [(ids, mask)])
    labels = csr_matrix(np.eye(5, 40, dtype=np.float32)[[0, 1, 2, 3, 4] * 8])
    recipe = LexicalRecipe(centroid_terms=8, leaf_size=2, start=6.0, cost=1.0, passes=5, threshold=0.05)
    return learn_lexical_half(terms, terms.matrix(ids, mask), labels, recipe, seed=0)


def with_half() -> XMCModel:
    model = make_model()
    model.lexical = half_of(model)
    return model.eval()


def transformer(folder: Path) -> XMCModel:
    backbone, tokenizer = load_backbone(str(folder))
    encoder = Encoder(backbone, tokenizer, pooling="mean", max_length=32)
    index, generator = init_index(40, 8, 16, 0), torch.Generator().manual_seed(0)
    classifier = FixedFanIn(16, index, backend="numba", generator=generator)
    ids = [f"l{i}" for i in range(40)]
    return XMCModel(encoder, Identity(16), classifier, label_ids=ids, label_names=ids, loss="bce").eval()


def blend() -> Blend:
    one, other = with_half(), make_model(width=32)
    return Blend([Member("a", 0.6, one), Member("b", 0.4, other)], one.label_ids, one.label_names)


@pytest.mark.parametrize("kind", ["bag", "half", "blend"])
def test_our_kernels_do_not_mix_documents(kind: str) -> None:
    model = {"bag": make_model, "half": with_half, "blend": blend}[kind]()
    assert independent(model)
    some = texts(150)
    alone = [model.predict([text], 12)[0] for text in some]
    for size in (2, 5, 16, 33, 64, 150):
        assert model.predict(some, 12, size) == alone


@pytest.mark.parametrize("threads", [1, 2])
def test_nor_do_threads(threads: int) -> None:
    model, some = with_half(), texts(60)
    alone = [model.predict([text], 12)[0] for text in some]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert model.predict(some, 12) == alone
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["dense", "intermediate", "transformer"])
def test_what_mixes_documents_is_asked_one_by_one(kind: str, tmp_path: Path, bert_folder: Path) -> None:
    model = {
        "dense": lambda: make_model(classifier="dense"),
        "intermediate": lambda: make_model(intermediate=True),
        "transformer": lambda: transformer(bert_folder),
    }[kind]()
    assert not independent(model)
    model.save_pretrained(tmp_path)
    models = Models(tmp_path, "cpu")
    models.load()
    served, some = models.get(None), texts(40)
    alone = [served.model.predict([text], 12)[0] for text in some]
    assert Suggest(served, 12, None)(some) == alone
    models.together = True
    assert models.reload(changed_only=False) and models.get(None).together


def test_answers_over_http_are_those_of_the_model(tmp_path: Path) -> None:
    model = with_half()
    model.save_pretrained(tmp_path / "half")
    again = XMCModel.from_pretrained(tmp_path / "half")
    some = texts(37)
    with running(tmp_path / "half") as server:
        together = server.ask("/v1/predict", {"texts": some, "k": 12}).json["results"]
        for text, result in zip(some, together, strict=True):
            expected = [{"label": p.label, "name": p.name, "score": p.score} for p in again.predict([text], 12)[0]]
            assert result["labels"] == expected
            assert server.ask("/v1/predict", {"texts": [text], "k": 12}).json["results"][0]["labels"] == expected
