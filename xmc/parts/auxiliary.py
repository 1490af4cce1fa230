"""What the encoder learns beside the labels."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xmc.part import Part
from xmc.parts.optimizer import AdamW
from xmc.parts.output import LONG, Load, OutputBytes, OutputSite, dense_memory
from xmc.registry import Registry
from xmc.values import Count, Fraction, Positive, Share

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from xmc.model.auxiliary import ClusterHead


class AuxiliarySection(Part):
    """What the encoder learns beside the labels.

    clusters_labels: whether it asks for `OutputSite.label_features`.
    """

    clusters_labels: ClassVar[bool] = False

    @abstractmethod
    def build(self, site: OutputSite) -> "ClusterHead | None":
        """The head; None: there is none."""

    def optimizer(self, head: "ClusterHead") -> "Optimizer":
        """Of the head that was built."""
        raise NotImplementedError

    def influence(self, total_steps: int) -> tuple[float, int]:
        """a in (1 - a) * main + a * auxiliary at the first of so many steps, and the one from which on it is 0."""
        return 0.0, 0

    def memory(self, labels: int, load: Load) -> OutputBytes | None:
        """What the head takes beside so many labels, on one of the devices; None: there is none."""
        return None


AUXILIARY = Registry(
    "auxiliary",
    AuxiliarySection,
    {"none": "xmc.parts.auxiliary:NoAuxiliary", "clusters": "xmc.parts.auxiliary:ClustersAuxiliary"},
)


class NoAuxiliary(AuxiliarySection):
    """Nothing."""

    kind: Literal["none"] = "none"

    def build(self, site: OutputSite) -> None:
        return None


class ClustersAuxiliary(AuxiliarySection):
    """A dense head that predicts clusters of similar labels.

    It carries gradient to the encoder while the sparse layer is poor.
    """

    clusters_labels: ClassVar[bool] = True

    kind: Literal["clusters"] = "clusters"
    leaf_size: Count = 100
    """labels a cluster, about"""
    weight: Share = 0.4
    """a in (1 - a) * main + a * auxiliary, falling by cosine to 0"""
    until: Fraction = 0.15
    """of the training steps"""
    lr: Positive = 5e-3

    def build(self, site: OutputSite) -> "ClusterHead":
        import torch

        from xmc.model.auxiliary import ClusterHead
        from xmc.model.clustering import cluster_labels

        def clusters() -> torch.Tensor:
            return torch.from_numpy(cluster_labels(site.label_features(), self.leaf_size, site.seed))

        of_all = site.processes.of_first(clusters)
        head = ClusterHead(site.in_features, of_all, generator=site.generator, processes=site.processes)
        return head.to(site.device)

    def optimizer(self, head: "ClusterHead") -> "Optimizer":
        from torch import optim

        return optim.AdamW(head.parameters(), lr=self.lr, weight_decay=0.0)

    def influence(self, total_steps: int) -> tuple[float, int]:
        return self.weight, round(self.until * total_steps)

    def memory(self, labels: int, load: Load) -> OutputBytes:
        """Clusters are halves of halves of the labels."""
        clusters = 2 ** max(0, math.ceil(math.log2(labels / self.leaf_size)))
        return dense_memory(-(-clusters // load.devices), load, AdamW()) + OutputBytes(weights=LONG * labels)

    def remedies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "auxiliary=none", {"auxiliary": {"kind": "none"}}
