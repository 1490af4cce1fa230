from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from xmc.errors import XMCError
from xmc.model.encoder import Encoder
from xmc.model.sparse_features import SparseFeaturesConfig, SparseFeaturesModel, SparseFeaturesTokenizer

R, D = 9, 6
ROWS = ["3:0.5 1:2", "", "8:-1 3:1 0:0.25"]


def make_model(term_dropout: float = 0.0) -> SparseFeaturesModel:
    torch.manual_seed(0)
    return SparseFeaturesModel(SparseFeaturesConfig(R, hidden_size=D, term_dropout=term_dropout)).eval()


def inputs(rows: list[str] = ROWS) -> dict[str, torch.Tensor]:
    model = SparseFeaturesModel(SparseFeaturesConfig(R, hidden_size=D))
    encoder = Encoder(model, SparseFeaturesTokenizer(R), pooling="none", max_length=5)
    ids, mask, values = encoder.tokenize(rows)
    assert values is not None
    return {"input_ids": ids, "attention_mask": mask, "values": values}


def test_ids_and_values_ascend_and_are_padded() -> None:
    batch = inputs()
    assert batch["input_ids"].tolist() == [[1, 3, 0], [0, 0, 0], [0, 3, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]
    assert batch["values"].tolist() == [[2, 0.5, 0], [0, 0, 0], [0.25, 1, -1]]


def test_the_largest_values_stay() -> None:
    encoded = SparseFeaturesTokenizer(R)(["1:1 2:-3 3:1 4:2"], max_length=3)
    assert encoded == ([[1, 2, 4]], [[1, -3, 2]])


def test_features_and_gradient_are_those_of_a_dense_product() -> None:
    model, target = make_model(), torch.randn(3, D)
    features = model(**inputs())
    (features * target).sum().backward()
    gradient = model.table.grad
    assert gradient is not None and gradient.is_sparse
    assert gradient.coalesce().indices().tolist() == [[0, 1, 3, 8]], "only what the batch touches"
    table = model.table.detach().requires_grad_()
    matrix = torch.zeros(3, R)
    matrix[0, 3], matrix[0, 1], matrix[2, 8], matrix[2, 3], matrix[2, 0] = 0.5, 2, -1, 1, 0.25
    dense = F.layer_norm(matrix @ table, (D,))
    (dense * target).sum().backward()
    torch.testing.assert_close(features, dense)
    torch.testing.assert_close(gradient.to_dense(), table.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [["", ""], ["1:1"]])
def test_a_batch_of_few_features(rows: list[str]) -> None:
    features = make_model(term_dropout=0.99).train()(**inputs(rows))
    features.sum().backward()
    assert features.shape == (len(rows), D)
    assert torch.isfinite(features).all()


def test_term_dropout_only_in_training() -> None:
    model = make_model(term_dropout=0.5)
    assert torch.equal(model(**inputs()), model(**inputs()))
    model.train()
    assert not torch.equal(model(**inputs()), model(**inputs()))


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = make_model()
    encoder = Encoder(model, SparseFeaturesTokenizer(R), pooling="none", max_length=5)
    encoder.save_pretrained(tmp_path)
    loaded = Encoder.from_pretrained(tmp_path).eval()
    assert loaded.backbone.config == model.config
    assert isinstance(loaded.tokenizer, SparseFeaturesTokenizer) and len(loaded.tokenizer) == R
    assert not loaded.reads_text
    assert torch.equal(loaded(*inputs().values()), model(**inputs()))


def test_a_row_that_cannot_be_read() -> None:
    with pytest.raises(XMCError, match=r"'1:1 9:2': feature 9 is out of range; there are 9 features, 0 to 8"):
        inputs(["1:1", "1:1 9:2"])
