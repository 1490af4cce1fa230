"""Output layers. Both stream over the labels: neither a B x L nor, for the sparse one, an L x D tensor exists."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from xmc.distributed import Shard
from xmc.model.drawing import drawn_weights
from xmc.model.evidence import Evidence, Watched, batch_of, evidence_of
from xmc.ops.blocks import label_blocks
from xmc.ops.fan_in import FanIn, fan_in_linear, fan_in_loss, fan_in_sgd_step, fan_in_topk, resolve_backend
from xmc.ops.losses import loss_and_gradient_
from xmc.types import InPlaceUpdate, Positives, StepOutput, TopK
from xmc.values import LossName

Update = InPlaceUpdate | None
"""The step that a classifier takes itself; None: it leaves gradients instead."""


class Classifier(nn.Module):
    """Logits of L labels from features [B, D], never held all at once."""

    kind: str

    def __init__(self, in_features: int, num_labels: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.num_labels = num_labels

    @property
    def sparse(self) -> "FixedFanIn | None":
        """The layer whose connections may change."""
        return None

    @property
    def own(self) -> "Classifier":
        """What this process has of it."""
        return self

    def step(
        self, features_BD: Tensor, positives: Positives, loss: LossName, scale: float = 1.0, update: Update = None
    ) -> tuple[Tensor, Tensor]:
        """Loss (summed over labels, averaged over documents) and gradient of the features [B, D].

        Leaves the gradients of its own weights in `.grad`; the caller carries that of the features into the encoder's
        autograd graph. scale: weight of this loss in the total; it multiplies the gradients, not the reported loss.
        update: the step that the sparse layer takes itself, while the labels stream by; it leaves no gradient.
        """
        raise NotImplementedError

    def init_bias(self, label_counts: Tensor, num_documents: int, loss: LossName) -> None:
        """Start at each label's frequency: its log-odds for BCE, 2p - 1 for the squared hinge.

        label_counts: of all labels, also where these are a shard of them.
        """
        raise NotImplementedError

    def adjust_logits(self, label_counts: Tensor, num_documents: int, tau: float) -> None:
        """Rank by logits less tau times the log of each label's frequency, so that rare labels rank higher.

        Training does not see it. Post-hoc logit adjustment (Menon et al., ICLR 2021, arXiv 2007.07314, section 4.2),
        there of a softmax, here of one logit a label. label_counts: as for `init_bias`.
        """
        raise NotImplementedError

    def topk(self, features_BD: Tensor, k: int) -> TopK:
        """The k best labels of each document."""
        return self.best_of(self.lists(features_BD, k), k)

    def lists(self, features_BD: Tensor, k: int) -> Sequence[TopK]:
        """The k best of each layer by their places in it, which of a shard are those among all."""
        raise NotImplementedError

    def best_of(self, lists: Sequence[TopK], k: int) -> TopK:
        """The k best labels, from the lists of all places."""
        raise NotImplementedError

    def of_all(self, labels: int) -> Self:
        """Of a shard the same over so many labels, all there are, with tensors that are yet to be filled."""
        raise NotImplementedError

    def rows(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What `topk` ranks a few labels by: weights [n, D], 0 where there is no connection, and biases [n]."""
        raise NotImplementedError


class LinearClassifier(Classifier):
    """A classifier of one weight and one bias. adjustment: [L], what `topk` adds to the bias.

    Its weights are drawn by the `generator` it is made with; without one they are yet to be filled. Of a shard of the
    labels they are those that it has among all; positives that come in and lists that go out have global labels, the
    first of its own being `label_offset`.
    """

    adjustment: Tensor | None

    def __init__(self, in_features: int, weight: Tensor, label_offset: int = 0) -> None:
        super().__init__(in_features, weight.shape[0])
        self.label_offset = label_offset
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(weight.shape[0]))
        self.register_buffer("adjustment", None)

    def step(
        self, features_BD: Tensor, positives: Positives, loss: LossName, scale: float = 1.0, update: Update = None
    ) -> tuple[Tensor, Tensor]:
        assert update is None, "a dense layer takes no step itself"
        out = self._loss(features_BD, positives, loss)
        if scale != 1.0:
            for gradient in (out.grad_weight, out.grad_bias, out.grad_features):
                gradient.mul_(scale)
        self.weight.grad, self.bias.grad = out.grad_weight, out.grad_bias
        return out.loss, out.grad_features

    @torch.no_grad()
    def init_bias(self, label_counts: Tensor, num_documents: int, loss: LossName) -> None:
        p = _frequency(self._of_own(label_counts), num_documents)
        self.bias.copy_(torch.logit(p) if loss == "bce" else 2 * p - 1)

    def adjust_logits(self, label_counts: Tensor, num_documents: int, tau: float) -> None:
        self.adjustment = None
        if tau:
            self.adjustment = (-tau * _frequency(self._of_own(label_counts), num_documents).log()).to(self.bias)

    def best_of(self, lists: Sequence[TopK], k: int) -> TopK:
        (best,) = lists
        return best

    def _of_own(self, of_all_L: Tensor) -> Tensor:
        """Of a value for each of all labels those of these, in the order of the weight."""
        return of_all_L[self.label_offset : self.label_offset + self.num_labels]

    @property
    def _ranking_bias(self) -> Tensor:
        bias = self.bias.detach()
        return bias if self.adjustment is None else bias + self.adjustment

    def _loss(self, features_BD: Tensor, positives: Positives, loss: LossName) -> StepOutput:
        raise NotImplementedError


class FixedFanIn(LinearClassifier, Watched):
    """K incoming connections a label: weight [L, K], index [G, K] (which features), bias [L].

    Weights start uniform in +- `bound`, or 1/sqrt(K) ("Navigating Extremes", NeurIPS 2024, section 3.1). Where groups
    of labels share a row of the index, weight and bias stand in the order `order` [L] of the labels, which makes each
    group a run; labels that come in or go out are always the caller's. dtype: of the weights; those of bfloat16 learn
    in place only, where the update is rounded stochastically. active: the first so many slots take part in the output,
    the others only learn (Top-KAST); all, if None. backend: as it is asked for, `auto` or a name; the device that the
    layer is on decides at each call. shard: the labels of the index, where there are others; no groups.
    """

    kind = "fixed_fan_in"
    index: Tensor
    order: Tensor | None
    place: Tensor | None

    def __init__(
        self,
        in_features: int,
        index_GK: Tensor,
        *,
        backend: str,
        generator: torch.Generator | None = None,
        order_L: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        bound: float | None = None,
        active: int | None = None,
        shard: Shard | None = None,
    ) -> None:
        n_groups, fan_in = index_GK.shape
        shard = shard or Shard.whole(n_groups if order_L is None else len(order_L))
        bound = bound or 1 / math.sqrt(fan_in)
        super().__init__(in_features, drawn_weights(shard, fan_in, bound, generator, dtype), shard.start)
        self.register_buffer("index", index_GK)
        self.register_buffer("order", order_L)
        self.register_buffer("place", None if order_L is None else torch.argsort(order_L), persistent=False)
        self.backend = backend
        self.active = active or fan_in

    @property
    def sparse(self) -> "FixedFanIn":
        return self

    @property
    def serving(self) -> str:
        """The back end that serves the layer where it now is."""
        return resolve_backend(self.weight.device, requested=self.backend, weight_dtype=self.weight.dtype)[0]

    @property
    def connections(self) -> FanIn:
        """As the op takes them."""
        return FanIn(self.weight, self.index, self.bias, self.active, self.label_offset)

    @torch.no_grad()
    def of_all(self, labels: int) -> Self:
        assert self.order is None, "groups are not divided"
        index, dtype = self.index.new_empty(labels, self.index.shape[1]), self.weight.dtype
        whole = type(self)(self.in_features, index, backend=self.backend, dtype=dtype, active=self.active)
        return adjusted_as(self, whole.to(self.bias.device))

    def step(
        self, features_BD: Tensor, positives: Positives, loss: LossName, scale: float = 1.0, update: Update = None
    ) -> tuple[Tensor, Tensor]:
        if self.watches:
            self._evidence = evidence_of(features_BD, positives, loss)
        if update is None:
            return super().step(features_BD, positives, loss, scale)
        scaled = replace(update, lr=update.lr * scale, weight_decay=update.weight_decay / scale)
        total, grad_features = fan_in_sgd_step(
            features_BD, self.connections, self._placed(positives), loss, scaled, backend=self.backend
        )
        return total, grad_features.mul_(scale)

    def lists(self, features_BD: Tensor, k: int) -> Sequence[TopK]:
        layer = replace(self.connections, bias=self._ranking_bias)
        return [fan_in_topk(features_BD, layer, k, backend=self.backend)]

    def best_of(self, lists: Sequence[TopK], k: int) -> TopK:
        best = super().best_of(lists, k)
        if self.order is None:
            return best
        return TopK(best.scores, torch.where(best.labels < 0, -1, self.order[best.labels]))

    @torch.no_grad()
    def rows(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        places = labels if self.place is None else self.place[labels]
        columns = self.index[places // self.connections.group_size, : self.active].long()
        weight = torch.zeros(len(labels), self.in_features, device=self.bias.device)
        return weight.scatter_(1, columns, self.weight[places, : self.active].float()), self._ranking_bias[places]

    @torch.no_grad()
    def dense_gradient(self, evidence: Evidence, labels: slice) -> Tensor:
        """Gradient of the loss with respect to the weights that a run of labels would have if dense, [l, D].

        labels: in the order of the weight; whole groups.
        """
        features_BD, positives, loss = batch_of(evidence)
        size = self.connections.group_size
        part = self.connections.part(slice(labels.start // size, -(-labels.stop // size)))
        logits_LB = fan_in_linear(features_BD, part, backend=self.backend).T.contiguous()
        (block,) = label_blocks(self._placed(positives), part.label_offset, len(logits_LB), len(logits_LB))
        _, gradient_LB = loss_and_gradient_(logits_LB, (block.label, block.document), loss)
        return gradient_LB @ features_BD / len(features_BD)

    @torch.no_grad()
    def gradient_at(self, evidence: Evidence, columns_GC: Tensor) -> Tensor:
        """The same for all labels, but at the given columns alone, [L, C]."""
        features_BD, positives, loss = batch_of(evidence)
        absent = self.weight.new_zeros(self.num_labels, columns_GC.shape[1])
        weight = torch.cat([self.weight[:, : self.active], absent], dim=1)
        index = torch.cat([self.index[:, : self.active], columns_GC], dim=1)
        layer = FanIn(weight, index, self.bias, self.active, self.label_offset)
        out = fan_in_loss(features_BD, layer, self._placed(positives), loss, backend=self.backend)
        return out.grad_weight[:, self.active :]

    def _loss(self, features_BD: Tensor, positives: Positives, loss: LossName) -> StepOutput:
        return fan_in_loss(features_BD, self.connections, self._placed(positives), loss, backend=self.backend)

    def _of_own(self, of_all_L: Tensor) -> Tensor:
        return super()._of_own(of_all_L if self.order is None else of_all_L[self.order])

    def _placed(self, positives: Positives) -> Positives:
        """The positives by the place of their labels."""
        return positives if self.place is None else replace(positives, labels=self.place[positives.labels])


C = TypeVar("C", bound=LinearClassifier)


def adjusted_as(shard: C, whole: C) -> C:
    """With an adjustment, yet to be filled, where the shard has one."""
    whole.adjustment = None if shard.adjustment is None else torch.zeros_like(whole.bias)
    return whole


def _frequency(label_counts: Tensor, num_documents: int) -> Tensor:
    """Share of the documents that carry each label, float64 [L], smoothed so that none is 0 or 1."""
    return (label_counts.double() + 0.5) / (num_documents + 1)
