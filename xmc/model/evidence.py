"""Evidence: what a sparse layer keeps of a batch, for the gradient of connections that it does not have."""

from collections.abc import Mapping

import torch
from torch import Tensor

from xmc.ops.losses import LOSSES, wide
from xmc.types import Positives
from xmc.values import LossName

Evidence = Mapping[str, Tensor]
"""Tensors by name. The layer that gave them reads them; who keeps them for it need not know what they are."""


class Watched:
    """A layer that keeps evidence from `watch` to `take_evidence`, in between in `_evidence`, and none otherwise.

    watches: whether it does.
    """

    watches = False
    _evidence: Evidence | None = None

    def watch(self) -> None:
        """Keep evidence of the next batch."""
        self.watches = True

    def take_evidence(self) -> Evidence:
        """What was kept of the batch since `watch`; the layer forgets it, and keeps nothing more."""
        assert self._evidence is not None, "no training step since `watch`"
        evidence, self._evidence, self.watches = self._evidence, None, False
        return evidence


def evidence_of(features_BD: Tensor, positives: Positives, loss: LossName) -> Evidence:
    """A batch as a classifier saw it."""
    number = torch.tensor(LOSSES.index(loss))
    return {"features": features_BD, "offsets": positives.offsets, "labels": positives.labels, "loss": number}


def batch_of(evidence: Evidence) -> tuple[Tensor, Positives, LossName]:
    """What `evidence_of` was given, the features in float32 at least."""
    for loss in LOSSES:
        if f"{loss}.features" in evidence:  # of an older checkpoint, whose names begin with the loss
            evidence = evidence_of(
                evidence[f"{loss}.features"], Positives(evidence[f"{loss}.offsets"], evidence[f"{loss}.labels"]), loss
            )
    features_BD = evidence["features"]
    return (
        features_BD.to(wide(features_BD)),
        Positives(evidence["offsets"], evidence["labels"]),
        LOSSES[int(evidence["loss"])],
    )
