"""What one ranking has to say of some labels, before it is stacked with others."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Said:
    """By one ranking, of n labels and a document of T tokens.

    scores, empty: [n], what it gives them here, and where no word is known. weights: [T, n], what each token adds on
    the way from the one to the other, on the scale on which it is linear.
    """

    scores: Floats
    empty: Floats
    weights: Floats

    def adding_up_to(self, totals: Floats) -> Floats:
        """The weights, multiplied by one number a label so that they have these sums, [n]."""
        sums = self.weights.sum(axis=0)
        return self.weights * np.divide(totals, sums, out=np.zeros_like(sums), where=np.abs(sums) > 1e-9)
