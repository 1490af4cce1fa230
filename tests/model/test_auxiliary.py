import torch

from xmc.model.auxiliary import ClusterHead
from xmc.types import Positives


def test_targets_are_each_documents_clusters_once() -> None:
    head = ClusterHead(4, torch.tensor([0, 0, 1, 2, 1]), generator=torch.Generator())
    positives = Positives(torch.tensor([0, 3, 3, 5]), torch.tensor([0, 1, 4, 2, 3]))
    targets = head.targets(positives)
    assert targets.offsets.tolist() == [0, 2, 2, 4]
    assert targets.labels.tolist() == [0, 1, 1, 2]


def test_targets_of_a_batch_without_labels() -> None:
    head = ClusterHead(4, torch.tensor([0, 1]), generator=torch.Generator())
    targets = head.targets(Positives(torch.zeros(4, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)))
    assert targets.offsets.tolist() == [0, 0, 0, 0]
    assert targets.labels.numel() == 0


def test_loss_is_summed_over_clusters_and_averaged_over_documents() -> None:
    """The trap: an averaged auxiliary loss beside a summed main loss would have next to no weight."""
    head = ClusterHead(4, torch.arange(6) % 3, generator=torch.Generator())
    torch.nn.init.zeros_(head.classifier.weight)
    positives = Positives(torch.tensor([0, 1, 2]), torch.tensor([0, 5]))
    loss, _ = head.step(torch.ones(2, 4), positives, "bce", 1.0)
    torch.testing.assert_close(loss, 3 * torch.tensor(2.0).log())
