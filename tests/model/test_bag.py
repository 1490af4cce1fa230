from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import change
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from xmc.model.bag import BagConfig, BagModel, frequent_bigrams
from xmc.model.encoder import Encoder
from xmc.model.word_tokenizer import WordTokenizer

TEXTS = ["Open the file", "open a file, then close the file", "parseHTTPHeader and parse_header", "the cat", "a cat"]


def flat(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([i for d in documents for i in d], dtype=np.int32), np.cumsum([0, *map(len, documents)])


def padded(documents: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(1, *map(len, documents))
    ids = torch.tensor([d + [0] * (width - len(d)) for d in documents])
    return ids, torch.tensor([[1] * len(d) + [0] * (width - len(d)) for d in documents])


def make_model(documents: list[list[int]], vocab: int = 8, mlp: int = 0, **kwargs: float) -> BagModel:
    torch.manual_seed(0)
    bigrams = frequent_bigrams(*flat(documents), vocab, 10, 1)
    config = BagConfig(vocab, len(bigrams), hidden_size=6, intermediate_size=mlp, **kwargs)  # type: ignore[arg-type]
    model = BagModel(config)
    model.learn_terms(bigrams, [padded(documents)])
    return model.eval()


def test_bigrams_by_hand() -> None:
    """Bigrams neither cross documents nor contain special tokens, and count once a document."""
    documents = [[2, 3, 2, 3], [2, 3], [3, 2], [3, 1, 2]]
    assert frequent_bigrams(*flat(documents), 8, 10, 1).tolist() == [2 * 8 + 3, 3 * 8 + 2]
    assert frequent_bigrams(*flat(documents), 8, 1, 1).tolist() == [2 * 8 + 3]
    assert frequent_bigrams(*flat(documents), 8, 10, 3).tolist() == []


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(1, 5), max_size=9), min_size=1, max_size=12), st.integers(1, 3))
def test_bigrams_against_brute_force(documents: list[list[int]], minimum: int) -> None:
    counts: dict[int, int] = {}
    for d in documents:
        for key in {a * 6 + b for a, b in pairwise(d) if min(a, b) > 1}:
            counts[key] = counts.get(key, 0) + 1
    expected = sorted(key for key, count in counts.items() if count >= minimum)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xmc.model.bag._CHUNK", 5)
        assert frequent_bigrams(*flat(documents), 6, 100, minimum).tolist() == expected


def test_features_by_hand() -> None:
    documents = [[2, 3, 2], [3, 4], []]
    model = make_model(documents)
    number, vocab = len(documents), 8
    keys = model.bigrams.tolist()
    frequency = {2: 1, 3: 2, 4: 1, vocab + keys.index(19): 1, vocab + keys.index(26): 1, vocab + keys.index(28): 1}
    idf = {term: np.log((1 + number) / (1 + f)) + 1 for term, f in frequency.items()}
    values = {2: (1 + np.log(2)) * idf[2], 3: idf[3]}
    values |= {term: idf[term] for term in (vocab + keys.index(19), vocab + keys.index(26))}
    norm = np.sqrt(sum(v**2 for v in values.values()))
    total = sum(v / norm * model.table[term] for term, v in values.items())
    assert isinstance(total, torch.Tensor)
    features = model(*padded(documents))
    torch.testing.assert_close(features[0], F.layer_norm(total.float(), (6,)), rtol=1e-4, atol=1e-5)
    assert (features[2] == 0).all()


@pytest.mark.parametrize("mlp", [0, 5])
def test_gradient_of_the_table_is_sparse_and_right(mlp: int) -> None:
    documents = [[2, 3, 2], [3, 4, 5], [5]]
    model = make_model(documents, mlp=mlp)
    inputs = padded(documents)
    target = torch.randn(3, 6)
    (model(*inputs) * target).sum().backward()
    gradient = model.table.grad
    assert gradient is not None and gradient.is_sparse
    assert gradient._indices()[0].tolist() == [2, 3, 4, 5, *(8 + i for i in range(len(model.bigrams)))]

    rows, terms, counts = model.terms(*inputs)
    values = model.weigh(rows, terms, counts, 3)
    table = model.table.detach().requires_grad_()
    matrix = torch.zeros(3, len(table)).index_put((rows, terms), values)
    hidden = model.norm(matrix @ table)
    hidden = hidden if model.mlp is None else hidden + model.mlp(hidden)
    (hidden * target).sum().backward()
    torch.testing.assert_close(gradient.to_dense(), table.grad, rtol=1e-4, atol=1e-5)


def test_documents_without_terms() -> None:
    model = make_model([[2, 3], [3, 4]]).train()
    features = model(*padded([[], [1, 1]]))
    features.sum().backward()
    assert torch.isfinite(features).all()


def test_padding_does_not_change_features() -> None:
    documents = [[2, 3], [2, 3, 4, 5, 2, 3]]
    model = make_model(documents)
    torch.testing.assert_close(model(*padded(documents))[0], model(*padded(documents[:1]))[0])


def test_term_dropout_only_in_training() -> None:
    documents = [list(range(2, 8)) * 3]
    model = make_model(documents, term_dropout=0.5)
    assert torch.equal(model(*padded(documents)), model(*padded(documents)))
    model.train()
    assert not torch.equal(model(*padded(documents)), model(*padded(documents)))


@pytest.mark.parametrize("further", [{}, {"architectures": ["BagModel"], "dtype": "float32", "auto_map": {}}])
def test_saved_and_loaded(further: dict[str, object], tmp_path: Path) -> None:
    """further: keys that transformers once wrote beside ours, or that it would heed."""
    tokenizer = WordTokenizer.learned(TEXTS * 2, 100)
    documents = tokenizer(TEXTS, 16).ids
    model = make_model(documents, vocab=len(tokenizer), mlp=4)
    Encoder(model, tokenizer, pooling="none", max_length=16).save_pretrained(tmp_path)
    change(tmp_path / "config.json", **further)
    again = Encoder.from_pretrained(tmp_path)
    assert again.backbone.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(again.backbone.state_dict()[name], value), name
    assert again.tokenizer(TEXTS, 16).ids == documents
    assert again.tokenizer.fingerprint == tokenizer.fingerprint
