import pytest
import torch

from xmc.model.classifier import Classifier, FixedFanIn
from xmc.model.dense import Dense
from xmc.sparsity.topology import init_index
from xmc.train.new_rows import Recipe, new_rows
from xmc.types import Positives
from xmc.values import LossName

N, D, K = 300, 40, 6
RECIPE = Recipe(steps=50, batch_size=64, lr=0.05, weight_decay=0.0, seed=0)


def planted() -> tuple[torch.Tensor, Positives, torch.Tensor]:
    """Features, three labels of 10 documents each, and the columns that tell them, [3, K]."""
    generator = torch.Generator().manual_seed(0)
    features = 0.3 * torch.randn(N, D, generator=generator)
    columns = torch.randperm(D, generator=generator)[: 3 * K].view(3, K)
    documents, labels = torch.arange(30), torch.arange(30) % 3
    for document, label in zip(documents, labels, strict=True):
        features[document, columns[label]] += torch.tensor([1.0, -1.0]).repeat(K // 2)
    return features, Positives.of_pairs(documents, labels, N), columns


@pytest.mark.parametrize("loss", ["bce", "squared_hinge"])
@pytest.mark.parametrize("kind", ["dense", "fixed_fan_in"])
def test_few_documents_are_enough(kind: str, loss: LossName) -> None:
    features, positives, columns = planted()
    generator = torch.Generator().manual_seed(1)
    like: Classifier = Dense(D, 7, generator=generator)
    if kind == "fixed_fan_in":
        like = FixedFanIn(D, init_index(7, K, D, 1), backend="torch", generator=generator)
    layer = new_rows(like, features, positives, 3, loss, RECIPE)
    again = new_rows(like, features, positives, 3, loss, RECIPE)
    assert torch.equal(layer.weight, again.weight) and torch.equal(layer.bias, again.bias)
    if isinstance(layer, FixedFanIn):
        assert torch.equal(layer.index.long().sort(1).values, columns.sort(1).values)
    ranked = layer.topk(features[:30], 1)
    assert torch.equal(ranked.labels[:, 0], positives.labels)
    assert float(layer.topk(features[30:], 1).scores.max()) < float(ranked.scores.min())
