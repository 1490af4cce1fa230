"""What becomes of the dense layers before the classifier."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from xmc.part import Part
from xmc.registry import Registry
from xmc.values import OneOrMore, Share

if TYPE_CHECKING:
    from xmc.model.sparse_ift import SparseIFT

Layer = Literal["intermediate", "encoder"]


class SparseIFTSection(Part):
    """What becomes of the dense layers."""

    @property
    def transformed(self) -> tuple[Layer, ...]:
        """Where layers do not stay dense."""
        return ()

    @property
    def needs_rewiring(self) -> bool:
        """Whether layers get inner features that only a strategy which changes connections makes useful."""
        return False

    def build(self, layer: Layer) -> "SparseIFT | None":
        """What becomes of the dense layers there; None: they stay."""
        return None

    @classmethod
    def inherited(cls, trained: "Mapping[Layer, SparseIFT | None]") -> dict[str, Any] | None:
        """The keys with which these transformations of a trained model come about; None: with none."""
        return None


SPARSE_IFT = Registry(
    "sparse_ift",
    SparseIFTSection,
    {
        "none": "xmc.parts.sparse_ift:NoSparseIFT",
        "wide": "xmc.parts.sparse_ift:WideSparseIFT",
        "parallel": "xmc.parts.sparse_ift:ParallelSparseIFT",
        "factorized": "xmc.parts.sparse_ift:FactorizedSparseIFT",
        "doped": "xmc.parts.sparse_ift:DopedSparseIFT",
    },
)


class NoSparseIFT(SparseIFTSection):
    """Dense layers stay dense."""

    kind: Literal["none"] = "none"

    @classmethod
    def inherited(cls, trained: "Mapping[Layer, SparseIFT | None]") -> dict[str, Any] | None:
        return None if any(trained.values()) else {}


class FamilySection(SparseIFTSection):
    """A dense layer becomes sparse ones of as many multiply-adds: xmc flops"""

    kind: Literal["wide", "parallel", "factorized", "doped"]
    sparsity: Share = 0.5
    """share of the connections left out"""
    layers: Annotated[tuple[Layer, ...], Field(min_length=1), OneOrMore] = ("intermediate",)
    """intermediate | encoder (a transformer's feed-forward blocks)"""

    @property
    def transformed(self) -> tuple[Layer, ...]:
        return self.layers

    @property
    def needs_rewiring(self) -> bool:
        return True

    def build(self, layer: Layer) -> "SparseIFT | None":
        from xmc.model.sparse_ift import SparseIFT

        return SparseIFT(self.kind, self.sparsity) if layer in self.layers else None

    @classmethod
    def inherited(cls, trained: "Mapping[Layer, SparseIFT | None]") -> dict[str, Any] | None:
        there = {layer: transformation for layer, transformation in trained.items() if transformation is not None}
        first = next(iter(there.values()), None)
        if first is None or first.kind != cls.model_fields["kind"].default:
            return None
        return {"sparsity": first.sparsity, "layers": list(there)}


class WideSparseIFT(FamilySection):
    """The layer becomes 1 / (1 - sparsity) times as wide, and sparse. As many multiply-adds as before: xmc flops"""

    kind: Literal["wide"] = "wide"


class ParallelSparseIFT(FamilySection):
    """1 / (1 - sparsity) sparse branches of the layer's size, summed. As many multiply-adds as before: xmc flops"""

    kind: Literal["parallel"] = "parallel"


class FactorizedSparseIFT(FamilySection):
    """Two sparse layers with a non-linearity between them. As many multiply-adds as before: xmc flops"""

    kind: Literal["factorized"] = "factorized"


class DopedSparseIFT(FamilySection):
    """A dense low-rank part beside a sparse one. As many multiply-adds as before: xmc flops"""

    kind: Literal["doped"] = "doped"

    @property
    def needs_rewiring(self) -> bool:
        return False
