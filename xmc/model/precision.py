"""The type that a network computes in."""

import functools
import logging
from typing import Literal

import torch

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]
"""auto: bfloat16 on a GPU that computes in it; bfloat16: on any GPU. Elsewhere float32, whatever is asked for."""

_HARDWARE = (8, 0)  # the first compute capability that has bfloat16


@functools.cache
def computing_type(precision: Precision, device: torch.device) -> torch.dtype:
    """Of products on this device. That a GPU emulates bfloat16, which is slow, is told."""
    if device.type != "cuda" or precision == "float32":
        return torch.float32
    capability = torch.cuda.get_device_capability(device)
    if capability >= _HARDWARE:
        return torch.bfloat16
    told = "bfloat16 is emulated on this GPU, of compute capability %d.%d (8.0 and later have it), which is slow%s"
    if precision == "auto":
        logger.warning(told, *capability, ", so float32 it is")
        return torch.float32
    logger.warning(told, *capability, "; float32 is quicker")
    return torch.bfloat16
