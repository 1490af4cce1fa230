"""Counter-based random numbers: a pure function of (seed, step, label, counter).

There is no state, so the numbers depend neither on the device, nor on threads, nor on how labels are split into blocks
or shards.
"""

import math

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
BELL_BOUND = 3.5  # of the magnitudes of `bell_shaped`
_BELL = -2  # the step of the numbers of `bell_shaped`; steps of training count from 0
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def random_integers(bound: Tensor, seed: int, step: int, labels: Tensor, counter: int) -> Tensor:
    """Uniform integers in [0, bound), int64 [l], one a label.

    bound: int64 [l], >= 1. labels: int64 [l], global ids. Taking the remainder of 62 bits skews no probability by more
    than bound / 2^62.
    """
    return _shift(_mix(_mix(stream_key(seed, step) + labels) + counter), 2) % bound


def bell_shaped(seed: int, labels: Tensor, columns: int) -> Tensor:
    """Numbers of mean 0 and variance 1 in +- 3.5, float32 [l, columns]: a function of seed, label and column.

    Each is a sum of four uniform 16-bit integers, which is close to normal and exact on every machine.
    """
    bits = _mix(_mix(stream_key(seed, _BELL) + labels)[:, None] + torch.arange(columns, device=labels.device))
    total = sum((_shift(bits, 16 * i) & 0xFFFF for i in range(4)), torch.zeros_like(bits))
    return (total - 2 * 0xFFFF).float() * (math.sqrt(3) / 2**16)


def stream_key(seed: int, step: int) -> int:
    """Where the numbers of a step start, a signed 64-bit integer."""
    return int(_mix(_mix(torch.tensor(_signed(seed))) + _signed(step * _GOLDEN)))


def rounded(values_LK: Tensor, dtype: torch.dtype, rounding: tuple[int, int], first_label: int) -> Tensor:
    """[l, K] in `dtype`; float32 to bfloat16 goes up or down at random, so that the mean is kept.

    The random bits are a function of seed and step (`rounding`), global label and slot, 16 a number.
    """
    if dtype != torch.bfloat16:
        return values_LK.to(dtype)
    labels = torch.arange(first_label, first_label + len(values_LK), device=values_LK.device)
    slots = torch.arange(values_LK.shape[1], device=values_LK.device)
    bits = _mix(_mix(stream_key(*rounding) + labels)[:, None] + slots) & 0xFFFF
    raised = values_LK.contiguous().view(torch.int32) + bits.to(torch.int32)
    return (raised & -0x10000).view(torch.float32).to(torch.bfloat16)


def _mix(x: Tensor) -> Tensor:
    """One output of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), modulo 2^64 in two's complement."""
    x = x + _signed(_GOLDEN)
    x = (x ^ _shift(x, 30)) * _signed(_MIX[0])
    x = (x ^ _shift(x, 27)) * _signed(_MIX[1])
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; that of int64 is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(constant: int) -> int:
    constant &= (1 << 64) - 1
    return constant - (1 << 64) if constant >> 63 else constant
