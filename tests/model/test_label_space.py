"""Labels that join, leave and change places keep their rows and scores."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xmc.model.classifier import Classifier, FixedFanIn
from xmc.model.dense import Dense
from xmc.model.head_and_tail import HeadAndTail
from xmc.model.label_space import joined, selected, shares_connections
from xmc.sparsity.topology import init_index

D, K = 12, 4
KINDS = ("dense", "fixed_fan_in", "head_and_tail")


def classifier(kind: str, n: int, seed: int, tau: float = 0.0) -> Classifier:
    generator = torch.Generator().manual_seed(seed)
    if kind == "dense":
        layer: Classifier = Dense(D, n, generator=generator)
    elif kind == "fixed_fan_in":
        layer = FixedFanIn(D, init_index(n, K, D, seed), backend="torch", generator=generator)
    else:
        head, tail = classifier("dense", 2, seed), classifier("fixed_fan_in", n - 2, seed)
        assert isinstance(head, Dense) and isinstance(tail, FixedFanIn)
        both = HeadAndTail(head, tail, torch.randperm(n, generator=generator))
        both.adjust_logits(torch.arange(n), 2 * n, tau)
        return both
    layer.adjust_logits(torch.arange(n), 2 * n, tau)
    torch.nn.init.normal_(layer.bias, generator=generator)  # type: ignore[arg-type]
    return layer


def scores(layer: Classifier) -> Tensor:
    """Logits [3, L] by label."""
    features = torch.randn(3, D, generator=torch.Generator().manual_seed(9))
    top = layer.topk(features, layer.num_labels)
    return top.scores.gather(1, top.labels.argsort(dim=1))


@pytest.mark.parametrize(
    ("first", "second"),
    [*((kind, kind) for kind in KINDS), ("head_and_tail", "fixed_fan_in"), ("fixed_fan_in", "head_and_tail")],
)
@settings(max_examples=10)
@given(data=st.data())
def test_labels_keep_their_scores(first: str, second: str, data: st.DataObject) -> None:
    adjusted = st.sampled_from([0.0, 0.3])
    a, b = classifier(first, 5, 1, data.draw(adjusted)), classifier(second, 4, 2, data.draw(adjusted))
    both = joined(a, b)
    expected = torch.cat([scores(a), scores(b)], dim=1)
    torch.testing.assert_close(scores(both), expected)
    chosen = torch.tensor(data.draw(st.lists(st.integers(0, 8), min_size=1, max_size=9, unique=True)))
    torch.testing.assert_close(scores(selected(both, chosen)), expected[:, chosen])


def test_a_group_shares_its_connections() -> None:
    grouped = FixedFanIn(
        D, init_index(2, K, D, 0), backend="torch", generator=torch.Generator(), order_L=torch.arange(4)
    )
    assert shares_connections(grouped)
    assert not any(shares_connections(classifier(kind, 5, 0)) for kind in KINDS)
