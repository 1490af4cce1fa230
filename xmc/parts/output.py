"""What stands behind the features, classifier and auxiliary head: what they are built for, and what they take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xmc.parts.optimizer import OptimizerSection
from xmc.parts.parametrization import ParametrizationSection
from xmc.sparsity.strategy import SparsitySection

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix
    from torch import Tensor

    from xmc.distributed import Processes

FLOAT, LONG = 4, 8
DENSE_BLOCK = 2048
"""Labels whose logits exist at once."""


@dataclass(frozen=True)
class OutputSite:
    """What is built behind the features.

    in_features: D. label_counts: training documents of each label, [L]. label_features: what labels are clustered by,
    CSR [L, V], formed when it is first asked for. sparsity: how connections will change. generator: of first weights.
    processes: that share the labels; what is built is this one's part.
    """

    in_features: int
    label_counts: "Tensor"
    label_features: "Callable[[], csr_matrix]"
    parametrization: ParametrizationSection
    sparsity: SparsitySection
    device: "torch.device"
    generator: "torch.Generator"
    seed: int
    processes: "Processes"


@dataclass(frozen=True)
class Load:
    """What goes through a layer behind the features.

    width: D. batch: documents of a step. evaluated: documents that are ranked at once, k: labels of each. devices: that
    share the labels.
    """

    width: int
    batch: int
    evaluated: int
    k: int
    on_gpu: bool
    sparsity: SparsitySection
    devices: int = 1


@dataclass(frozen=True)
class OutputBytes:
    """step, ranking: what the op needs beside what it is given. update: of the optimizer's step. rewiring: of the
    strategy. waiting: weights without a slot on the host; mapped, where they lie in a file."""

    weights: int = 0
    index: int = 0
    gradients: int = 0
    moments: int = 0
    step: int = 0
    update: int = 0
    ranking: int = 0
    rewiring: int = 0
    waiting: int = 0
    mapped: int = 0

    def __add__(self, other: "OutputBytes") -> "OutputBytes":
        names = self.__dataclass_fields__
        return OutputBytes(**{name: getattr(self, name) + getattr(other, name) for name in names})


def dense_memory(labels: int, load: Load, optimizer: OptimizerSection) -> OutputBytes:
    """Of a dense layer: its op holds a block of logits three times."""
    weights = labels * load.width
    moments, update = optimizer.dense_bytes(weights, labels, load.on_gpu)
    block = FLOAT * min(labels, DENSE_BLOCK)
    return OutputBytes(
        weights=FLOAT * (weights + labels),
        gradients=FLOAT * (weights + labels),
        moments=moments,
        step=3 * block * load.batch + 2 * FLOAT * load.batch * load.width,
        update=update,
        ranking=4 * block * load.evaluated,
    )
