"""A dense head on the most frequent labels beside a sparse tail on all others."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from xmc.model.classifier import Classifier, FixedFanIn, Update
from xmc.model.dense import Dense
from xmc.types import Positives, TopK
from xmc.values import LossName


class HeadAndTail(Classifier):
    """The most frequent labels see every feature, the rest are fixed fan-in.

    The head gives the encoder a gradient that is not bound to a few random connections, which the auxiliary objective
    does otherwise (HASTE, arXiv 2606.01117). order: int64 [L], the labels of the head, then those of the tail; those
    that come in or go out are always the caller's. in_head: how many these are, where head and tail are shards.
    """

    kind = "head_and_tail"
    order: Tensor
    place: Tensor

    def __init__(self, head: Dense, tail: FixedFanIn, order_L: Tensor, in_head: int | None = None) -> None:
        super().__init__(head.in_features, len(order_L))
        self.in_head = in_head or head.num_labels
        self.head = head
        self.tail = tail
        self.register_buffer("order", order_L)
        self.register_buffer("place", torch.argsort(order_L), persistent=False)

    @property
    def sparse(self) -> FixedFanIn:
        return self.tail

    def init_bias(self, label_counts: Tensor, num_documents: int, loss: LossName) -> None:
        of_head, of_tail = self._divided(label_counts)
        self.head.init_bias(of_head, num_documents, loss)
        self.tail.init_bias(of_tail, num_documents, loss)

    def adjust_logits(self, label_counts: Tensor, num_documents: int, tau: float) -> None:
        of_head, of_tail = self._divided(label_counts)
        self.head.adjust_logits(of_head, num_documents, tau)
        self.tail.adjust_logits(of_tail, num_documents, tau)

    def step(
        self, features_BD: Tensor, positives: Positives, loss: LossName, scale: float = 1.0, update: Update = None
    ) -> tuple[Tensor, Tensor]:
        of_head, of_tail = self._split(positives)
        head_loss, head_gradient = self.head.step(features_BD, of_head, loss, scale)
        tail_loss, tail_gradient = self.tail.step(features_BD, of_tail, loss, scale, update)
        return head_loss + tail_loss, head_gradient + tail_gradient

    def of_all(self, labels: int) -> Self:
        head, tail = self.head.of_all(self.in_head), self.tail.of_all(labels - self.in_head)
        return type(self)(head, tail, self.order)

    def lists(self, features_BD: Tensor, k: int) -> Sequence[TopK]:
        return [*self.head.lists(features_BD, k), *self.tail.lists(features_BD, k)]

    def best_of(self, lists: Sequence[TopK], k: int) -> TopK:
        parts = [layer.best_of([best], k) for layer, best in zip((self.head, self.tail), lists, strict=True)]
        scores = torch.cat([part.scores for part in parts], dim=1)
        labels = torch.cat([self._named(parts[0].labels, 0), self._named(parts[1].labels, self.in_head)], dim=1)
        by_label = labels.argsort(dim=1)  # equal scores rank by ascending label; missing ones, of score -inf, go last
        scores, labels = scores.gather(1, by_label), labels.gather(1, by_label)
        best, order = scores.sort(dim=1, descending=True, stable=True)
        labels = labels.gather(1, order)[:, :k].masked_fill(best[:, :k] == -torch.inf, -1)
        return TopK(best[:, :k].contiguous(), labels.contiguous())

    def rows(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        places, first = self.place[labels], self.in_head
        in_head = places < first
        of_head, of_tail = self.head.rows(places.clamp_max(first - 1)), self.tail.rows((places - first).clamp_min(0))
        weight = torch.where(in_head[:, None], of_head[0], of_tail[0])
        return weight, torch.where(in_head, of_head[1], of_tail[1])

    def _divided(self, of_label_L: Tensor) -> tuple[Tensor, Tensor]:
        by_place = of_label_L[self.order]
        return by_place[: self.in_head], by_place[self.in_head :]

    def _named(self, places: Tensor, first: int) -> Tensor:
        return torch.where(places < 0, -1, self.order[places + first])

    def _split(self, positives: Positives) -> tuple[Positives, Positives]:
        places, documents = self.place[positives.labels], positives.documents()
        first = self.in_head
        in_head = places < first
        return (
            Positives.of_pairs(documents[in_head], places[in_head], len(positives)),
            Positives.of_pairs(documents[~in_head], places[~in_head] - first, len(positives)),
        )


def most_frequent_first(label_counts: Sequence[int] | Tensor) -> Tensor:
    """Labels by falling frequency, int64 [L]; of equally frequent ones the lower id comes first."""
    return torch.as_tensor(label_counts).argsort(descending=True, stable=True)
