"""The logistic function, the same bits wherever in a tensor a number stands."""

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor


def sigmoid(logits: Tensor) -> Tensor:
    """1 / (1 + exp(-logits)), of the same type and shape.

    On the CPU torch takes vectors of numbers, and the last few by another function, whose last bit may differ.
    """
    if logits.device.type != "cpu":
        return torch.sigmoid(logits)
    return torch.from_numpy(np.asarray(expit(logits.detach().numpy())))
