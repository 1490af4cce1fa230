"""How likely a relevant label is to be among the observed ones (Jain, Prabhu and Varma, KDD 2016)."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def inverse_propensity(train_counts: ArrayLike, num_train: int, A: float = 0.55, B: float = 1.5) -> NDArray[np.float64]:
    """Inverse propensity of each label, float64 [L]: 1 + C (n + B)^-A with C = (ln N - 1)(B + 1)^A.

    train_counts: [L], the training documents n that carry each label. num_train: the number N of training documents.
    A, B: the constants of the model; they belong to a benchmark, and figures compare only under the same ones.
    With fewer than e documents C would be negative, and propensities exceed 1: it is 0 there, every propensity 1.
    Raises ValueError for counts outside 0..N, for N < 1, and for A or B not above 0.
    """
    counts = np.asarray(train_counts, dtype=np.float64)
    if num_train < 1:
        raise ValueError(f"num_train: expected at least 1 training document, got {num_train}")
    if counts.ndim != 1 or not np.all((counts >= 0) & (counts <= num_train)):
        raise ValueError(
            f"train_counts: expected one count a label, each from 0 to num_train = {num_train}, "
            f"got shape {counts.shape} with values from {counts.min(initial=0):g} to {counts.max(initial=0):g}"
        )
    if not (A > 0 and B > 0):
        raise ValueError(f"A, B: expected both above 0, got A = {A}, B = {B}")
    c = max(math.log(num_train) - 1, 0.0) * (B + 1) ** A
    return 1 + c * (counts + B) ** -A
