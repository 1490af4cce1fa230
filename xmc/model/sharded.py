"""A classifier whose labels the processes of a job share."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xmc.distributed import Processes
from xmc.model.classifier import Classifier, FixedFanIn, Update
from xmc.types import Positives, TopK
from xmc.values import LossName


class ShardedClassifier(Classifier):
    """All labels, of which this process holds a shard.

    Each process comes with features of its documents, of those of a batch its part by `Processes.shard`. They are
    gathered, each process makes its pass over its labels on all of them, and what that gives for each document goes
    back to where the document came from. All processes call `step` and `topk` together, also one without a document.
    """

    def __init__(self, shard: Classifier, processes: Processes, num_labels: int) -> None:
        super().__init__(shard.in_features, num_labels)
        self.kind = shard.kind
        self.shard = shard
        self.processes = processes

    @property
    def sparse(self) -> FixedFanIn | None:
        return self.shard.sparse

    @property
    def own(self) -> Classifier:
        return self.shard

    def whole(self) -> Classifier:
        """One process's classifier of all labels, with tensors that are yet to be filled."""
        return self.shard.of_all(self.num_labels)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """By the names that the tensors have in a classifier of all labels; of each, the rows of this process."""
        return self.shard.state_dict(*args, **kwargs)

    def step(
        self, features_BD: Tensor, positives: Positives, loss: LossName, scale: float = 1.0, update: Update = None
    ) -> tuple[Tensor, Tensor]:
        """As of one process, over the documents of all; the gradient is of this process's features."""
        own = features_BD, positives.offsets.diff(), positives.labels
        features_of_all, sizes, labels = self.processes.gather(*own)
        of_all = Positives(F.pad(sizes.cumsum(0), (1, 0)), labels, positives.checked)
        own_loss, gradient = self.shard.step(features_of_all, of_all, loss, scale, update)
        total = self.processes.total(own_loss.item())
        return own_loss.new_tensor(total), self.processes.scatter_sum(gradient)

    def init_bias(self, label_counts: Tensor, num_documents: int, loss: LossName) -> None:
        self.shard.init_bias(label_counts, num_documents, loss)

    def adjust_logits(self, label_counts: Tensor, num_documents: int, tau: float) -> None:
        self.shard.adjust_logits(label_counts, num_documents, tau)

    def topk(self, features_BD: Tensor, k: int) -> TopK:
        """The best of all labels for each of this process's documents, however many. Others may want another k."""
        wanted, sizes = zip(*self.processes.all_of(k, len(features_BD)), strict=True)
        (features_of_all,) = self.processes.gather(features_BD)

        def of_all(best: TopK) -> TopK:
            scores, labels = (self.processes.exchange(values, sizes) for values in (best.scores, best.labels))
            return merged(scores, labels, k)

        if not len(features_of_all):
            return TopK(features_BD.new_zeros(0, k), torch.zeros(0, k, dtype=torch.int64))
        return self.shard.best_of([*map(of_all, self.shard.lists(features_of_all, max(wanted)))], k)


def is_divided(name: str) -> bool:
    """Whether a tensor of a model, or of an auxiliary head, has a row for each label of its layer.

    The order of all labels, which a classifier may have, is whole on every process.
    """
    return name.startswith("classifier.") and not name.endswith("order")


def shared(own: Classifier, processes: Processes, num_labels: int) -> Classifier:
    """A classifier of so many labels, of which each process has its own; that of a process alone is what it has."""
    return own if processes.size == 1 else ShardedClassifier(own, processes, num_labels)


def merged(scores_WBk: Tensor, labels_WBk: Tensor, k: int) -> TopK:
    """The k best of lists that each have labels of their own, ascending from list to list; ties as in one list."""
    scores, labels = (torch.cat([*lists], dim=1) for lists in (scores_WBk, labels_WBk))
    ends_last = (labels < 0).byte().argsort(dim=1, stable=True)  # what is no label, behind labels of -inf
    scores, order = scores.gather(1, ends_last).sort(dim=1, descending=True, stable=True)
    return TopK(scores[:, :k], labels.gather(1, ends_last).gather(1, order)[:, :k])
