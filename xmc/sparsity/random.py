"""Counter-based random numbers: a pure function of (seed, step, label, counter).

There is no state, so the numbers depend neither on the device, nor on threads, nor on how labels are split into blocks
or shards.
"""

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def random_integers(bound: Tensor, seed: int, step: int, labels: Tensor, counter: int) -> Tensor:
    """Uniform integers in [0, bound), int64 [l], one a label.

    bound: int64 [l], >= 1. labels: int64 [l], global ids. Taking the remainder of 62 bits skews no probability by more
    than bound / 2^62.
    """
    key = _mix(_mix(torch.tensor(_signed(seed), device=labels.device)) + _signed(step * _GOLDEN))
    return _shift(_mix(_mix(key + labels) + counter), 2) % bound


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
