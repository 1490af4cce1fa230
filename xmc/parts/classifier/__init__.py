"""What makes a score of each label: a file here and a line below, or an entry point of the group `xmc.classifier`."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from xmc.part import Part
from xmc.parts.optimizer import OPTIMIZER, OptimizerSection
from xmc.parts.output import Load, OutputBytes, OutputSite
from xmc.registry import Registry

if TYPE_CHECKING:
    from xmc.model.classifier import Classifier


class ClassifierSection(Part):
    """What makes a score of each label.

    compiles: whether its kernels are compiled when they are first used. suits_recipe: whether the recipe was chosen for
    it.
    """

    compiles: ClassVar[bool] = False
    suits_recipe: ClassVar[bool] = False

    optimizer: Annotated[OptimizerSection, OPTIMIZER]

    @property
    def groups_labels(self) -> bool:
        """Whether it asks for `OutputSite.label_features`."""
        return False

    @abstractmethod
    def build(self, site: OutputSite) -> "Classifier":
        """The classifier at the first step of a run, on the CPU; of several processes, this one's shard of it."""

    def undivided(self) -> str | None:
        """Why `OutputSite.processes` cannot share its labels, and the way out; None: they can."""
        return f"classifier={self.kind} is built for all labels; take fixed_fan_in or dense"

    def check(self, in_features: int) -> None:
        """Raise XMCError where it cannot stand behind so many features."""

    @classmethod
    @abstractmethod
    def inherited(cls, trained: "Classifier") -> dict[str, Any] | None:
        """The keys that a trained classifier decides; None: it is of another kind."""

    def with_fan_in(self, fan_in: int) -> Self | None:
        """The same where every label has so many connections; None: that cannot be chosen."""
        return None

    @abstractmethod
    def memory(self, labels: int, load: Load) -> OutputBytes:
        """What it takes in training."""

    def beyond_estimates(self, load: Load) -> list[str]:
        """What it takes, in words, that `memory` does not know."""
        return []

    @abstractmethod
    def cost(self, labels: int, width: int) -> tuple[int, int, int]:
        """Multiply-adds a document, bytes of the weights and of the index."""


CLASSIFIER = Registry(
    "classifier",
    ClassifierSection,
    {
        "fixed_fan_in": "xmc.parts.classifier.fixed_fan_in:FixedFanInClassifier",
        "dense": "xmc.parts.classifier.dense:DenseClassifier",
    },
)
