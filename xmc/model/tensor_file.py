"""Tensors of a safetensors file, each mapped when it is asked for and let go with its last user.

A file mapped as a whole stays in memory until its last tensor is gone: a second model beside the one it is copied into.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from xmc.ops.blocks import label_slices
from xmc.types import XMCError

_MAPPED = 64 << 20  # bytes of a file in memory at a time


class TensorFile(Mapping[str, Tensor]):
    """The tensors of a file by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, framework="pt") as file:
            self._names = tuple(file.keys())

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with safe_open(self.path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor


@torch.no_grad()
def fill(tensors: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Copy saved tensors into those of the same names, some rows after the other.

    Raises XMCError where the names or shapes of the two differ.
    """
    where = f"{saved.path}: " if isinstance(saved, TensorFile) else ""
    missing, unexpected = sorted(tensors.keys() - saved.keys()), sorted(saved.keys() - tensors.keys())
    if missing or unexpected:
        raise XMCError(f"{where}missing {missing}, unexpected {unexpected}; train it anew")
    for name, tensor in tensors.items():
        if (shape := saved[name].shape) != tensor.shape:
            raise XMCError(f"{where}{name} is {[*shape]}, expected {[*tensor.shape]}; train it anew")
        own = torch.atleast_1d(tensor)
        for rows in label_slices(len(own), max(1, _MAPPED // max(1, own[:1].nbytes))):
            own[rows].copy_(torch.atleast_1d(saved[name])[rows])  # mapped anew: what was copied is let go
