"""Tensors of safetensors files, each mapped when it is asked for and let go with its last user.

A file mapped as a whole stays in memory until its last tensor is gone: a second model beside the one it is copied into.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from xmc.errors import XMCError
from xmc.ops.blocks import label_slices
from xmc.storage import read_json, unreadable

WEIGHTS, SHARDS = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"[\w.-]+\.safetensors")  # beside its index
_MAPPED = 64 << 20  # bytes of a file in memory at a time
_CHECKED = 1 << 20  # bytes looked at while they are still in the cache
_NAMED = 3  # tensors in an error
ANEW = "copy the model again, or train it anew"


class TensorFile(Mapping[str, Tensor]):
    """The tensors of a file by name.

    Raises:
        XMCError: it is no whole safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, framework="pt") as file:
                self._names = frozenset(file.keys())
        except (OSError, SafetensorError) as error:
            raise unreadable(path, error) from None
        self.nbytes = path.stat().st_size

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        try:
            with safe_open(self.path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
                return tensor
        except (OSError, SafetensorError) as error:
            raise unreadable(self.path, error) from None

    def required(self, name: str) -> Tensor:
        """Raises XMCError where there is no such tensor."""
        if name not in self._names:
            raise XMCError(f"{self.path}: {name} is missing; {ANEW}")
        return self[name]


class Shards(Mapping[str, Tensor]):
    """The weights in a Hugging Face folder: in `model.safetensors`, or in the files that its index of shards names.

    Raises:
        XMCError: there are none, one is not whole, or the index names what is no safetensors file beside it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / WEIGHTS
        if self.path.is_file():
            self._file_of = dict.fromkeys(file := TensorFile(self.path), file)
            self.nbytes = file.nbytes
            return
        self.path = folder / SHARDS
        if not self.path.is_file():
            raise XMCError(f"{folder} has no {WEIGHTS}; expected weights in safetensors, and no others are loaded")
        file_of = _index(self.path)
        files = {name: TensorFile(folder / name) for name in sorted(set(file_of.values()))}
        self._file_of = {name: file for file in files.values() for name in file}
        self.nbytes = sum(file.nbytes for file in files.values())
        found = {name: file.path.name for name, file in self._file_of.items()}
        if wrong := {name for name, _ in found.items() ^ file_of.items()}:
            raise XMCError(
                f"{self.path} and the files that it names differ in {few(sorted(wrong))}; copy the model again"
            )

    def __len__(self) -> int:
        return len(self._file_of)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __getitem__(self, name: str) -> Tensor:
        return self._file_of[name][name]


def _index(path: Path) -> dict[str, str]:
    """The file of each tensor, by an index of shards."""
    file_of = read_json(path).get("weight_map")
    if not isinstance(file_of, dict):
        raise XMCError(f"{path} has no weight_map; copy it again")
    for name in file_of.values():
        if not (isinstance(name, str) and _SHARD.fullmatch(name)):
            raise XMCError(f"{path} names {name!r:.80}; expected safetensors files beside it, and no other is loaded")
        if not path.with_name(name).is_file():
            raise XMCError(f"{path} names {name}, which is missing; copy the model again")
    return file_of


def check_size(make: Callable[[], nn.Module], saved: TensorFile | Shards) -> None:
    """Raise XMCError where what `make` makes has a tensor of more numbers than the saved ones have bytes.

    So a number in a JSON file takes no memory before the tensors that it tells of are compared.
    """
    with torch.device("meta"):
        for name, tensor in make().state_dict().items():
            if tensor.numel() > saved.nbytes:
                raise XMCError(f"{saved.path} has {saved.nbytes} bytes, too few for {name}, {form(tensor)}; {ANEW}")


def scale_of(name: str) -> str:
    """Where the scales of a tensor's rows are saved, float32 [R], beside the int8 that its rows are multiples of."""
    return f"{name}_scale"


@torch.no_grad()
def fill(tensors: Mapping[str, Tensor], saved: Mapping[str, Tensor], *, finite: bool = True) -> None:
    """Copy saved tensors into those of the same names, some rows after the other. finite: whether all numbers must be.

    A matrix of float32 may be saved as int8 with a scale a row (see `scale_of`).

    Raises XMCError where the names, shapes or types of the two differ, or where a number is not finite.
    """
    where = f"{saved.path}: " if isinstance(saved, TensorFile | Shards) else ""
    matrices = (name for name, own in tensors.items() if own.dtype == torch.float32 and own.dim() == 2)
    scale_names = {name: scale_of(name) for name in matrices if scale_of(name) in saved.keys() - tensors.keys()}
    missing = sorted(tensors.keys() - saved.keys())
    unexpected = sorted(saved.keys() - tensors.keys() - set(scale_names.values()))
    if missing or unexpected:
        raise XMCError(f"{where}missing {few(missing)}, unexpected {few(unexpected)}; {ANEW}")
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    for name, scale_name in scale_names.items():
        shape = tensors[name].shape
        expected |= {name: (shape, torch.int8), scale_name: (shape[:1], torch.float32)}
    for name, (shape, dtype) in expected.items():
        if (have := saved[name]).shape != shape or have.dtype != dtype:
            wanted = form(torch.empty(shape, dtype=dtype, device="meta"))
            raise XMCError(f"{where}{name} is {form(have)}, expected {wanted}; {ANEW}")
    for name, tensor in tensors.items():
        scale = saved[scale_names[name]][:, None] if name in scale_names else None
        own = torch.atleast_1d(tensor)
        for rows in label_slices(len(own), max(1, _MAPPED // max(1, own[:1].nbytes))):
            mapped = torch.atleast_1d(saved[name])[rows]  # anew: what was copied is let go
            for some in label_slices(len(mapped), max(1, _CHECKED // max(1, own[:1].nbytes))):
                part = own[rows][some]
                part.copy_(mapped[some])
                if scale is not None:
                    part.mul_(scale[rows][some].to(part.device))
                if finite:
                    _check(part, f"{where}{name}")


def check_finite(tensors: Mapping[str, Tensor], where: Path) -> None:
    """Raise XMCError where a number is NaN or infinite."""
    for name, tensor in tensors.items():
        for part in tensor.detach().reshape(-1).split(_CHECKED):
            _check(part, f"{where}: {name}")


def few(names: list[str]) -> str:
    """The names, or the first of them where they are many."""
    return str(names) if len(names) <= _NAMED else f"{names[:_NAMED]} and {len(names) - _NAMED} more"


def _check(part: Tensor, name: str) -> None:
    if not part.is_floating_point() or math.isfinite(part.sum().item()):
        return
    if not torch.isfinite(part).all():  # a sum of finite numbers may overflow
        raise XMCError(f"{name} has a number that is not finite; {ANEW}")


def form(tensor: Tensor) -> str:
    """Type and shape."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {[*tensor.shape]}"
