"""How initial weights and learning rates depend on the number of connections a neuron has.

Under SmuPar (Dey et al., NeurIPS 2024, arXiv 2405.15743) activations, gradients and updates keep their scale when width
and density change, so hyper-parameters tuned at one fan-in serve another. Of a fixed fan-in layer only the number of
connections matters: m = K / K_base. The variance is s^2 / m with s^2 = 1 / (3 K_base), the learning rate, of Adam and
SGD, is multiplied by m^-exponent, and there is no multiplier in the forward pass. An exponent of 1 is for connections
that stay; where they are rewired it corrects too much (section 5).
"""

import math
from abc import abstractmethod
from typing import Literal

from xmc.part import Part
from xmc.registry import Registry
from xmc.values import Count, Fraction


class ParametrizationSection(Part):
    """How initial weights and learning rates follow the number of connections."""

    @abstractmethod
    def init_bound(self, fan_in: int) -> float:
        """Weights of a layer whose neurons have so many connections start uniform in +- this."""

    @abstractmethod
    def classifier_rate(self, fan_in: int) -> float:
        """What multiplies the learning rate of the classifier's weights."""

    @abstractmethod
    def hidden_rate(self, fan_in: int, base: int | None = None) -> float:
        """What multiplies the learning rate of a layer's weights before the classifier.

        base: the fan-in its rate was chosen for; that of the intermediate layer, if None.
        """


PARAMETRIZATION = Registry(
    "parametrization",
    ParametrizationSection,
    {"standard": "xmc.parts.parametrization:Standard", "supar": "xmc.parts.parametrization:SuPar"},
)


class Standard(ParametrizationSection):
    """The same learning rates whatever the fan-in."""

    kind: Literal["standard"] = "standard"

    def init_bound(self, fan_in: int) -> float:  # a variance of 1 / (3 K)
        return 1 / math.sqrt(fan_in)

    def classifier_rate(self, fan_in: int) -> float:
        return 1.0

    def hidden_rate(self, fan_in: int, base: int | None = None) -> float:
        return 1.0


class SuPar(ParametrizationSection):
    """SmuPar: learning rates chosen at one fan-in serve another. Check with: xmc coordinate-check"""

    kind: Literal["supar"] = "supar"
    base_fan_in: Count = 128
    """connections of a label for which the classifier's learning rate was chosen"""
    base_width: Count = 1024
    """inputs of the intermediate layer for which the encoder's learning rate was chosen"""
    exponent: Fraction = 1.0
    """learning rate times (fan_in / base_fan_in)^-exponent; 0.5 to 1 where connections are rewired"""

    def init_bound(self, fan_in: int) -> float:
        base = 1 / math.sqrt(self.base_fan_in)
        return base / math.sqrt(fan_in / self.base_fan_in)

    def classifier_rate(self, fan_in: int) -> float:
        return float((fan_in / self.base_fan_in) ** -self.exponent)

    def hidden_rate(self, fan_in: int, base: int | None = None) -> float:
        return float((fan_in / (base or self.base_width)) ** -self.exponent)
