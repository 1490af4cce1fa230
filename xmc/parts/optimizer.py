"""How the classifier's weights learn."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from xmc.part import Part
from xmc.registry import Registry
from xmc.values import NonNegative, Positive, Share

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from xmc.model.classifier import LinearClassifier

_FLOAT = 4
_ADAM_BLOCK = 1 << 18  # slots that SlotAdamW updates at once


class OptimizerSection(Part):
    """How the classifier's weights learn.

    rates: between which `xmc tune` looks for a learning rate, where another optimizer is recommended.
    """

    rates: ClassVar[tuple[float, float]]

    lr: Positive
    weight_decay: NonNegative

    @property
    def in_place(self) -> bool:
        """Whether a sparse layer is updated while its labels stream by, without gradients or state, and by stochastic
        rounding, which weights in bfloat16 need."""
        return False

    @abstractmethod
    def build(self, layer: "LinearClassifier", rate: float, seed: int) -> "dict[str, Optimizer]":
        """Those of a layer, that of the weights as `classifier`; one that is sparse needs a state that is understood
        when connections move (`SlotState`).

        rate: multiplies the learning rate of the weights.
        """

    @abstractmethod
    def sparse_bytes(self, slots: int, labels: int) -> tuple[int, int]:
        """State of a sparse layer of so many connections, biases included, and what a step takes beside it."""

    @abstractmethod
    def dense_bytes(self, weights: int, labels: int, on_gpu: bool) -> tuple[int, int]:
        """The same of a dense layer of so many weights."""


OPTIMIZER = Registry(
    "classifier/optimizer", OptimizerSection, {"adamw": "xmc.parts.optimizer:AdamW", "sgd": "xmc.parts.optimizer:SGD"}
)


class AdamW(OptimizerSection):
    """AdamW; a new connection of a sparse layer counts its steps anew."""

    rates: ClassVar[tuple[float, float]] = 1e-3, 2e-2

    kind: Literal["adamw"] = "adamw"
    lr: Positive = 5e-3
    weight_decay: NonNegative = 0.0

    def build(self, layer: "LinearClassifier", rate: float, seed: int) -> "dict[str, Optimizer]":
        from torch import optim

        from xmc.model.classifier import FixedFanIn
        from xmc.train.optim import SlotAdamW

        adam = SlotAdamW if isinstance(layer, FixedFanIn) else optim.AdamW
        return {
            "classifier": adam([layer.weight], lr=rate * self.lr, weight_decay=self.weight_decay),
            "bias": optim.AdamW([layer.bias], lr=self.lr, weight_decay=0.0),
        }

    def sparse_bytes(self, slots: int, labels: int) -> tuple[int, int]:
        return 10 * slots + 2 * _FLOAT * labels, 20 * min(slots, _ADAM_BLOCK)

    def dense_bytes(self, weights: int, labels: int, on_gpu: bool) -> tuple[int, int]:
        return 2 * _FLOAT * (weights + labels), (1 if on_gpu else 2) * _FLOAT * weights


class SGD(OptimizerSection):
    """SGD: in place, or with momentum."""

    rates: ClassVar[tuple[float, float]] = 0.1, 2.0

    kind: Literal["sgd"] = "sgd"
    lr: Positive = 0.3
    weight_decay: NonNegative = 0.0
    momentum: Share = 0.0
    """0: updated in place, without gradients or state"""

    @property
    def in_place(self) -> bool:
        return not self.momentum

    def build(self, layer: "LinearClassifier", rate: float, seed: int) -> "dict[str, Optimizer]":
        """In place, the rate multiplies that of the bias too."""
        from torch import optim

        from xmc.model.classifier import FixedFanIn
        from xmc.train.optim import InPlaceSGD

        if isinstance(layer, FixedFanIn) and self.in_place:
            return {"classifier": InPlaceSGD([layer.weight, layer.bias], rate * self.lr, self.weight_decay, seed)}
        groups = [
            {"params": [layer.weight], "lr": rate * self.lr, "weight_decay": self.weight_decay},
            {"params": [layer.bias], "weight_decay": 0.0},
        ]
        return {"classifier": optim.SGD(groups, lr=self.lr, momentum=self.momentum)}

    def sparse_bytes(self, slots: int, labels: int) -> tuple[int, int]:
        if self.in_place:
            return 0, 0
        return _FLOAT * (slots + labels), _FLOAT * slots * (self.weight_decay > 0)

    def dense_bytes(self, weights: int, labels: int, on_gpu: bool) -> tuple[int, int]:
        return 0 if self.in_place else _FLOAT * (weights + labels), 0
