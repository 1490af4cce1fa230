"""Learning-rate schedules: pure functions of the step."""

import math
from typing import Literal

ScheduleKind = Literal["cosine", "linear", "constant"]


def learning_rate_multiplier(step: int, total_steps: int, warmup_steps: int, kind: ScheduleKind) -> float:
    """Factor on the peak learning rate at a step counted from 0: linear warm-up, then decay to 0 at `total_steps`."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    match kind:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return 1 - done
        case "constant":
            return 1.0
