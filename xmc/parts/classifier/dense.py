"""The dense baseline."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from xmc.parts.classifier import ClassifierSection
from xmc.parts.classifier.fixed_fan_in import FixedFanInClassifier
from xmc.parts.optimizer import OPTIMIZER, OptimizerSection
from xmc.parts.output import FLOAT, Load, OutputBytes, OutputSite, dense_memory

if TYPE_CHECKING:
    from xmc.model.classifier import Classifier


class DenseClassifier(ClassifierSection):
    """The baseline: every label sees every feature."""

    kind: Literal["dense"] = "dense"
    optimizer: Annotated[OptimizerSection, OPTIMIZER] = OPTIMIZER.default("adamw", lr=1.25e-3)
    """many features a label want a smaller rate than few"""

    def build(self, site: OutputSite) -> "Classifier":
        from xmc.model.dense import Dense

        bound = site.parametrization.init_bound(site.in_features)
        labels = len(site.label_counts)
        shard = site.processes.shard_of_labels(labels)
        return Dense(site.in_features, labels, generator=site.generator, bound=bound, shard=shard)

    def undivided(self) -> str | None:
        return None

    @classmethod
    def inherited(cls, trained: "Classifier") -> dict[str, Any] | None:
        return {} if trained.sparse is None else None

    def memory(self, labels: int, load: Load) -> OutputBytes:
        return dense_memory(labels, load, self.optimizer)

    def cost(self, labels: int, width: int) -> tuple[int, int, int]:
        return labels * width, FLOAT * labels * (width + 1), 0

    def remedies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        sparse = FixedFanInClassifier(optimizer=self.optimizer)
        yield "classifier=fixed_fan_in", {"classifier": sparse.model_dump()}
