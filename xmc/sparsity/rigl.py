"""RigL: drop the smallest connections, grow those whose absence the loss regrets most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Literal

from xmc.sparsity.drop_and_grow import DropAndGrow, DropAndGrowSection
from xmc.sparsity.strategy import Site, SparseLayer, Strategy
from xmc.values import Count, Fraction

if TYPE_CHECKING:
    from xmc.model.evidence import Evidence
    from xmc.sparsity.topology import Growth

_NUMBERS = 1 << 22  # of a dense gradient that exist at once


class RigLSparsity(DropAndGrowSection):
    """RigL: drop the smallest weights of each label, regrow as many where the gradient is largest."""

    kind: Literal["rigl"] = "rigl"
    initial: Fraction = 0.3
    """share of a label's connections to drop at first; it falls by cosine"""
    stop: Fraction = 0.75
    """of the training steps"""
    candidates: Literal["all", "sample"] = "all"
    """all absent columns, or a sample of as many as a label has connections, which is cheaper"""
    batches: Count = 1
    """the last so many count towards the gradient; more are less noisy"""

    def build(self, site: Site) -> Strategy:
        candidates = "all" if site.inner else self.candidates  # of an inner layer all are known anyway
        return RigL(*self.schedule(site), candidates=candidates, batches=self.batches, offset=site.first_row)

    def rewiring_bytes(self, labels: int, groups: int, slots: int, width: int) -> int:
        own = 16 * min(_NUMBERS, labels * width) + 8 * groups * self.most_dropped(slots)
        return own + super().rewiring_bytes(labels, groups, slots, width)


@dataclass(eq=False)
class RigL(DropAndGrow):
    """RigL (Evci et al., ICML 2020), with the cheap variant of guided exploration (arXiv 2401.06898).

    Drops by magnitude, grows where the gradient is largest in magnitude. candidates: "all" absent columns, whose
    gradients are formed a block of labels at a time, or a "sample" of K.
    """

    _: KW_ONLY
    candidates: Literal["all", "sample"] = "all"
    batches: int = 1

    def grow(self, layer: SparseLayer, seen: Sequence[Evidence], step: int) -> Growth:
        from xmc.sparsity.gradient_growth import gradient_growth, gradient_growth_among
        from xmc.sparsity.topology import absent_columns

        if self.candidates == "all":
            return gradient_growth(layer, seen)
        fan_in = layer.index.shape[1]
        many = min(fan_in, layer.in_features - fan_in)
        sample = absent_columns(layer.index, many, layer.in_features, seed=self.seed, step=step, offset=self.offset)
        return gradient_growth_among(layer, seen, sample)
