import numpy as np
import pytest
import torch

from xmc.model.classifier import FixedFanIn
from xmc.model.dense import Dense
from xmc.model.head_and_tail import HeadAndTail
from xmc.run_report import connections
from xmc.run_report.connections import map_connections

NAMES = ("head", "torso", "tail")
COUNTS = np.array([1, 50, 9, 7, 3, 0])
BINS = np.array([2, 0, 1, 1, 2, 2])


def layer(index: list[list[int]], **more: object) -> FixedFanIn:
    made = FixedFanIn(4, torch.tensor(index, dtype=torch.int16), backend="torch", generator=torch.Generator(), **more)
    with torch.no_grad():
        made.weight.copy_(torch.where(torch.arange(made.weight.numel()).view_as(made.weight) % 2 == 0, 1.0, -1.0))
    return made


def test_degrees_and_the_picture() -> None:
    index = [[0, 1], [0, 2], [0, 1], [0, 1], [0, 3], [1, 2]]
    found = map_connections(layer(index), COUNTS, BINS, NAMES)
    assert found is not None
    assert (found.labels, found.groups, found.features, found.fan_in) == (6, 6, 4, 2)
    by_use = [0, 1, 2, 3]  # degrees 5, 4, 2, 1
    np.testing.assert_allclose(found.usage["all labels"], np.array([5, 4, 2, 1]) / 3)
    np.testing.assert_allclose(found.usage["head"], np.array([1, 0, 1, 0]) / 0.5)
    np.testing.assert_allclose(found.usage["torso"], np.array([2, 2, 0, 0]) / 1)
    assert found.gini["torso"] == pytest.approx(0.5)
    assert found.block_counts.tolist() == [50, 9, 7, 3, 1, 0]
    rows = [1, 2, 3, 4, 0, 5]
    expected = np.zeros((6, 4), dtype=np.int8)
    for row, label in enumerate(rows):
        expected[row, [by_use.index(column) for column in index[label]]] = [1, -1]
    np.testing.assert_array_equal(found.block, expected)


def test_groups_and_head_count_labels_not_rows() -> None:
    tail = layer([[0, 1], [0, 2]], order_L=torch.tensor([3, 1, 0, 2]))
    head = Dense(4, 2, generator=torch.Generator())
    order = torch.tensor([1, 2, 0, 3, 4, 5])  # the tail has labels 0, 3, 4, 5, in the order 5, 3, 0, 4
    found = map_connections(HeadAndTail(head, tail, order), COUNTS, BINS, NAMES)
    assert found is not None
    assert (found.labels, found.groups) == (4, 2)
    np.testing.assert_allclose(found.usage["all labels"], np.array([4, 2, 2, 0]) / 2)
    np.testing.assert_allclose(found.usage["torso"], np.array([1, 1, 0, 0]) / 0.5)  # label 3 alone
    assert "head" not in found.usage
    assert found.block_counts.tolist() == [7, 3, 1, 0]
    assert np.count_nonzero(found.block) == 8


def test_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    index = torch.randint(0, 4, (6, 1), generator=torch.Generator().manual_seed(0)).tolist()
    whole = map_connections(layer(index), COUNTS, BINS, NAMES)
    monkeypatch.setattr(connections, "_LABELS", 4)
    parts = map_connections(layer(index), COUNTS, BINS, NAMES)
    assert whole is not None and parts is not None
    np.testing.assert_array_equal(parts.usage["all labels"], whole.usage["all labels"])


def test_a_dense_classifier_has_none() -> None:
    assert map_connections(Dense(4, 6, generator=torch.Generator()), COUNTS, BINS, NAMES) is None
