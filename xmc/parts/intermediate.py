"""What stands between the encoder and the classifier."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from xmc.part import Part
from xmc.registry import Registry
from xmc.values import Count, Share

if TYPE_CHECKING:
    from xmc.model.intermediate import Identity, Linear
    from xmc.model.sparse_ift import IndexOf, SparseIFT


@dataclass(frozen=True)
class IntermediateSite:
    """What an intermediate layer is built for.

    in_features: of the encoder. transformation: what becomes of a dense layer; None: it stays. index_of: the first
    connections of a sparse one.
    """

    in_features: int
    transformation: "SparseIFT | None"
    index_of: "IndexOf"


class IntermediateSection(Part):
    """What stands between the encoder and the classifier."""

    @property
    def features(self) -> int | None:
        """How many it makes for the classifier, if dense; None: as many as it is given."""
        return None

    @abstractmethod
    def build(self, site: IntermediateSite) -> "Linear | Identity":
        """The layer; also on the meta device, where it is but counted."""

    @classmethod
    @abstractmethod
    def inherited(cls, trained: "Linear | Identity") -> dict[str, Any] | None:
        """The keys that a trained layer decides; None: it is of another kind."""

    def adopt(self, trained: "Linear | Identity") -> "Linear | Identity":
        """A trained layer, in place, with what it does not decide as it is configured here."""
        return trained


INTERMEDIATE = Registry(
    "intermediate",
    IntermediateSection,
    {"identity": "xmc.parts.intermediate:IdentityIntermediate", "linear": "xmc.parts.intermediate:LinearIntermediate"},
)


class IdentityIntermediate(IntermediateSection):
    """Nothing."""

    kind: Literal["identity"] = "identity"

    def build(self, site: IntermediateSite) -> "Identity":
        from xmc.model.intermediate import Identity

        return Identity(site.in_features)

    @classmethod
    def inherited(cls, trained: "Linear | Identity") -> dict[str, Any] | None:
        from xmc.model.intermediate import Identity

        return {} if isinstance(trained, Identity) else None


class LinearIntermediate(IntermediateSection):
    """One wide non-linear layer between the encoder and the classifier; it learns at the encoder's rate."""

    kind: Literal["linear"] = "linear"
    width: Count = 4096
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    dropout: Share = 0.0

    @property
    def features(self) -> int:
        return self.width

    def build(self, site: IntermediateSite) -> "Linear":
        from xmc.model.intermediate import Linear

        shape = site.in_features, self.width, self.activation, self.dropout
        return Linear(*shape, site.transformation, site.index_of)

    @classmethod
    def inherited(cls, trained: "Linear | Identity") -> dict[str, Any] | None:
        from xmc.model.intermediate import Linear

        if not isinstance(trained, Linear):
            return None
        return {"width": trained.dense_width, "activation": trained.activation}

    def adopt(self, trained: "Linear | Identity") -> "Linear | Identity":
        from xmc.model.intermediate import Linear

        assert isinstance(trained, Linear)
        trained.dropout.p = self.dropout
        return trained
