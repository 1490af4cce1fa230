"""Safetensors, written a block at a time, so that no process needs room for what others have.

The bytes are those that `safetensors.torch.save_file` would write of the whole tensors.
"""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from xmc.distributed import Processes, Rows

# Names of the format's types, in the order in which their tensors stand in a file.
_TYPES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ORDER = [*_TYPES]


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor | Rows], processes: Processes, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a file on the first process; the others send their rows. metadata: of the file's header."""
    order = sorted(tensors, key=lambda name: (_ORDER.index(_own(tensors[name]).dtype), name))
    with open(path, "wb") if processes.is_first else nullcontext() as out:
        if out is not None:
            out.write(_header({name: tensors[name] for name in order}, metadata))
        for name in order:
            for block in processes.blocks(tensors[name]):
                assert out is not None, "a process that is not the first was given a block"
                out.write(block.numpy().data)


def _own(tensor: Tensor | Rows) -> Tensor:
    return tensor.own if isinstance(tensor, Rows) else tensor


def _header(tensors: Mapping[str, Tensor | Rows], metadata: Mapping[str, str] | None) -> bytes:
    described: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    offset = 0
    for name, tensor in tensors.items():
        own = _own(tensor)
        shape = [sum(tensor.lengths), *own.shape[1:]] if isinstance(tensor, Rows) else [*own.shape]
        size = torch.Size(shape).numel() * own.element_size()
        described[name] = {"dtype": _TYPES[own.dtype], "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
