"""A lexical half in a model: the coefficients are fitted to the pairs of dev that count."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.sparse import csr_matrix
from test_lexical_half import LABELS, learned, with_neighbours
from test_model import TEXTS, make_model

from xmc.data.batches import Batches
from xmc.model import XMCModel
from xmc.model.lexical import prior
from xmc.workflow import stacking
from xmc.workflow.stacking import stack_


def dev_of(model: XMCModel) -> Batches:
    ids = [model.encoder.tokenize([text])[0][0].tolist() for text in TEXTS]
    return Batches(Dataset.from_dict({"input_ids": ids}), LABELS, pad_id=0, batch_size=3)


def stacked(filter: csr_matrix | None, monkeypatch: pytest.MonkeyPatch) -> tuple[XMCModel, int, int]:
    """The model, and the candidates and the true ones among them that the coefficients were fitted to."""
    model, pairs = make_model(), []

    def fitted(features: list[torch.Tensor], hits: list[torch.Tensor], prior: torch.Tensor) -> torch.Tensor:
        pairs.extend([sum(map(len, features)), int(sum(part.sum() for part in hits))])
        return prior

    monkeypatch.setattr(stacking, "fitted", fitted)
    stack_(model, learned(model), dev_of(model), 0, filter)
    return model, *pairs


def test_pairs_that_a_filter_leaves_out_are_neither_true_nor_false(monkeypatch: pytest.MonkeyPatch) -> None:
    _, all_of_them, true = stacked(None, monkeypatch)
    assert true == len(TEXTS)
    _, fewer, as_many = stacked(csr_matrix((np.ones(1), ([2], [LABELS[3].indices[0]])), LABELS.shape), monkeypatch)
    assert (fewer, as_many) == (all_of_them - 1, true)
    _, fewer, fewer_true = stacked(csr_matrix(LABELS), monkeypatch)
    assert (fewer, fewer_true) == (all_of_them - len(TEXTS), 0)


@pytest.mark.parametrize(("pays", "kept"), [(-1.0, True), (1.0, False)])
def test_neighbours_stay_where_they_pay(pays: float, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacking, "_PAYS", pays)
    model = make_model().eval()
    half = with_neighbours(learned(model), model)
    stack_(model, half, dev_of(model), 0)
    assert model.lexical is not None and (model.lexical.neighbours is not None) == kept
    assert len(model.lexical.coefficients) == len(prior(4 if kept else 3))


def test_without_dev_the_coefficients_are_those_of_the_prior() -> None:
    model = make_model()
    stack_(model, learned(model), None, 0)
    assert model.lexical is not None
    assert model.lexical.coefficients.tolist() == pytest.approx(prior(3).tolist())
