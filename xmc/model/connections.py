"""What a single label of a classifier sees."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from xmc.model.classifier import Classifier


@dataclass(frozen=True)
class Connections:
    """The features that a label is connected to, int64 [K], the heaviest first; their weights, float32 [K]; its bias.

    Its logit is the sum of the weights times the features, and the bias.
    """

    features: NDArray[np.int64]
    weights: NDArray[np.float32]
    bias: float


def connections_of(classifier: "Classifier", label: int) -> Connections:
    """Of a label by its place; connections whose weight is 0 say nothing, and are left out."""
    weight_1D, bias_1 = classifier.rows(torch.tensor([label], device=next(classifier.parameters()).device))
    weights = weight_1D[0].float().cpu().numpy()
    features = np.flatnonzero(weights)
    features = features[np.argsort(-abs(weights[features]), kind="stable")]
    return Connections(features, weights[features], float(bias_1[0]))
