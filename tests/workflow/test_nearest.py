"""The documents of a split as a model sees them."""

import numpy as np
import pytest
import torch
from test_lexical_half import LABELS
from test_model import TEXTS, make_model
from test_stack_half import dev_of

from xmc.model.neighbours import seen_from
from xmc.workflow import stacking as module
from xmc.workflow.stacking import nearest_documents


def test_each_document_is_nearest_to_itself() -> None:
    model = make_model().eval()
    found = nearest_documents(model, dev_of(model), 1, seed=0)
    features = model.encode(TEXTS)
    torch.testing.assert_close(found.features.float(), seen_from(found.directions, features), atol=1e-3, rtol=0)
    assert found.rank(features, 1).labels[:, 0].tolist() == LABELS.indices.tolist()


def test_of_many_documents_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_VOTERS", 5)
    model = make_model().eval()
    found, again = (nearest_documents(model, dev_of(model), 1, seed=0) for _ in range(2))
    assert len(found.features) == 5 and found.features.equal(again.features)
    drawn = np.sort(np.random.default_rng(0).permutation(len(TEXTS))[:5])
    assert found.labels.tolist() == LABELS[drawn].indices.tolist()
