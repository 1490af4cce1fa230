"""How initial weights and learning rates depend on the number of connections a neuron has.

Under SmuPar (Dey et al., NeurIPS 2024, arXiv 2405.15743) activations, gradients and updates keep their scale when width
and density change, so hyper-parameters tuned at one fan-in serve another. Of a fixed fan-in layer only the number of
connections matters: m = K / K_base. There is no multiplier in the forward pass.
"""

import math
from dataclasses import dataclass
from typing import Protocol


class Parametrization(Protocol):
    """Rules for one layer. fan_in: connections of a neuron; base: those of the layer it was tuned with."""

    def init_bound(self, fan_in: int) -> float:
        """Weights start uniform in +- this."""
        ...

    def classifier_rate(self, fan_in: int) -> float:
        """What multiplies the learning rate of the classifier's weights."""
        ...

    def hidden_rate(self, fan_in: int, base: int | None = None) -> float:
        """What multiplies the learning rate of a layer's weights before the classifier.

        base: the fan-in its rate was chosen for; that of the intermediate layer, if None.
        """
        ...


@dataclass(frozen=True, slots=True)
class Standard:
    """Variance 1 / (3 K), the same learning rate for every fan-in."""

    def init_bound(self, fan_in: int) -> float:
        return 1 / math.sqrt(fan_in)

    def classifier_rate(self, fan_in: int) -> float:
        return 1.0

    def hidden_rate(self, fan_in: int, base: int | None = None) -> float:
        return 1.0


@dataclass(frozen=True, slots=True)
class SuPar:
    """Variance s^2 / m with s^2 = 1 / (3 K_base), learning rate times m^-exponent, for Adam and SGD.

    base_fan_in, base_width: of the classifier and of the intermediate layer for which the rates were chosen. exponent:
    1 for connections that stay; between 0.5 and 1 where they are rewired, which 1 corrects too much (section 5).
    """

    base_fan_in: int
    base_width: int
    exponent: float

    def init_bound(self, fan_in: int) -> float:
        base = 1 / math.sqrt(self.base_fan_in)
        return base / math.sqrt(fan_in / self.base_fan_in)

    def classifier_rate(self, fan_in: int) -> float:
        return float((fan_in / self.base_fan_in) ** -self.exponent)

    def hidden_rate(self, fan_in: int, base: int | None = None) -> float:
        return float((fan_in / (base or self.base_width)) ** -self.exponent)
