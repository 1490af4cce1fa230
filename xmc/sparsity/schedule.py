"""Schedules of sparse training: pure functions of the step."""

import math


def cosine_decay(step: int, initial: float, end: int, final: float = 0.0) -> float:
    """Half a cosine from `initial` at step 0 to `final` at step `end`; 0 from there on, where the method is off.

    With `final` 0 it is the drop fraction of RigL (Evci et al., ICML 2020, section 3), f0 / 2 (1 + cos(pi t / T_end)).
    """
    if step >= end:
        return 0.0
    return final + (initial - final) / 2 * (1 + math.cos(math.pi * step / end))
