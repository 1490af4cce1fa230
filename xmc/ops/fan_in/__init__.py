"""Fixed fan-in sparse output layer: loss and gradients, a step in place, top-k, and logits with autograd."""

from xmc.ops.fan_in.api import BACKENDS, fan_in_linear, fan_in_loss, fan_in_sgd_step, fan_in_topk, resolve_backend
from xmc.ops.fan_in.impl.tuning import choices, keep_choices, rehearsal
from xmc.ops.fan_in.validation import check_distinct_columns, index_dtype
from xmc.types import FanIn

__all__ = [
    "BACKENDS",
    "FanIn",
    "check_distinct_columns",
    "choices",
    "fan_in_linear",
    "fan_in_loss",
    "fan_in_sgd_step",
    "fan_in_topk",
    "index_dtype",
    "keep_choices",
    "rehearsal",
    "resolve_backend",
]
