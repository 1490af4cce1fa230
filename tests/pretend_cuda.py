"""A pretend GPU: CPU tensors that say `cuda:0` and refuse what CUDA refuses. So all code for CUDA runs without one.

Tensors of two devices in one operator raise, and so do `.numpy()` of a tensor on the GPU and a kernel that is launched
while another GPU is the current one. As on a GPU, scalars and index tensors may come from the host. What the host would
wait for is counted. Triton's kernels run through its interpreter, behind the launch code itself, where the process was
started with TRITON_INTERPRET=1. With `-m gpu`, tests that take `KINDS` run on a real one instead.
"""

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

INTERPRETED = bool(os.environ.get("TRITON_INTERPRET"))
_HOST = torch.device("cpu")
_INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
_CROSSING = ("aten::copy_", "aten::_to_copy", *_INDEXING)
_WAITING = (
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::bincount",
    "aten::equal",
    "aten::_unique2",
    "aten::unique_consecutive",
    "aten::unique_dim",
)


class DeviceMismatch(RuntimeError):
    """An operator was given tensors of two devices."""


@dataclass
class Gpus:
    """What a test may ask. current: number of the device that kernels are launched on. waits: by operator.

    real: of GPUs that are there, nothing is counted.
    """

    current: int = 0
    launches: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    real: bool = False

    def launched(self, expected: bool) -> bool:
        """Whether kernels of Triton were launched or not, as expected."""
        return self.real or (self.launches > 0) == expected


_GPUS = Gpus()


class CudaTensor(Tensor):
    """A tensor of the CPU, `held`, that says it is on a GPU."""

    held: Tensor
    gpu: int
    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: torch.device("cuda", self.gpu))  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor, gpu: int) -> "CudaTensor":
        shape = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made: CudaTensor = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), **shape, dtype=held.dtype, layout=held.layout, device=_HOST
        )
        made.held, made.gpu = held.detach(), gpu
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"{self.held}, device={self.device}"

    def __tensor_flatten__(self) -> tuple[list[str], int]:
        return ["held"], self.gpu

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], gpu: int, size: Any, stride: Any) -> "CudaTensor":
        return CudaTensor(parts["held"], gpu)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), func._schema.name
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        own = [t for t in tensors if isinstance(t, CudaTensor)]
        _check_devices(name, args, own, [t for t in tensors if not isinstance(t, CudaTensor)])
        _count_waits(name, args, kwargs)
        if kwargs.get("device") is not None:
            kwargs["device"] = _HOST  # of torch's own code, which takes a tensor to be where it is held
        gpu = own[0].gpu
        given = tree_map_only(CudaTensor, lambda t: t.held, (args, kwargs))
        out = func(*given[0], **given[1])
        if name == "aten::copy_" and not isinstance(args[0], CudaTensor):
            return args[0]
        out = tree_map_only(Tensor, lambda t: CudaTensor(t, gpu), out)
        return return_and_correct_aliasing(func, args, kwargs, out)


def _check_devices(name: str, args: Any, own: list[CudaTensor], host: list[Tensor]) -> None:
    if len({t.gpu for t in own}) > 1 and name not in ("aten::copy_", "aten::_to_copy"):
        raise DeviceMismatch(f"{name}: expected one device, got {sorted({str(t.device) for t in own})}")
    if name in _INDEXING:
        if not isinstance(args[0], CudaTensor):
            raise DeviceMismatch(f"{name}: indices should be on cpu, got cuda")
        if name != "aten::index" and args[2].dim() and not isinstance(args[2], CudaTensor):
            raise DeviceMismatch(f"{name}: values should be on cuda, got cpu")
    if name not in _CROSSING and any(t.dim() for t in host):
        raise DeviceMismatch(f"{name}: expected all tensors on one device, got cuda and cpu")


def _count_waits(name: str, args: Any, kwargs: dict[str, Any]) -> None:
    masks = name in _INDEXING and any(t is not None and t.dtype == torch.bool for t in args[1])
    unsized = name == "aten::repeat_interleave" and kwargs.get("output_size") is None
    crosses = name == "aten::copy_" and isinstance(args[0], CudaTensor) != isinstance(args[1], CudaTensor)
    host = args[1] if crosses and isinstance(args[0], CudaTensor) else None
    free = host is not None and (host.dim() == 0 or (len(args) > 2 and args[2] and _is_pinned(host)))
    if name in _WAITING or masks or unsized or (crosses and not free):
        _GPUS.waits[name.removeprefix("aten::")] += 1


def _is_pinned(tensor: Tensor) -> bool:
    return getattr(tensor, "_pretend_pinned", False)


class Pretend(TorchFunctionMode):
    """While active, `device="cuda"` is a GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        first = args[0] if args else None
        if isinstance(first, CudaTensor):
            match name:
                case "numpy" | "__array__":
                    raise TypeError(f"can't convert {first.device} device type tensor to numpy. Use Tensor.cpu() first")
                case "tolist":
                    _GPUS.waits["tolist"] += 1
                    return first.held.tolist()
                case "data_ptr":
                    return first.held.data_ptr()
        if isinstance(first, Tensor):
            match name:
                case "to":
                    return _moved(*args, **kwargs)
                case "cuda":
                    return _moved(first, "cuda")
                case "cpu":
                    return _moved(first, "cpu")
        device = kwargs.get("device")
        if device is not None and not _is_cuda(device):
            args, kwargs = tree_map_only(CudaTensor, lambda t: t.held, (args, kwargs))
        if _is_cuda(device) and not any(isinstance(a, CudaTensor) for a in tree_leaves(args)):
            return _made(func, args, kwargs)
        return func(*args, **kwargs)


def _made(factory: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What `factory` makes on a GPU."""
    if factory in (torch.tensor, torch.as_tensor):
        _GPUS.waits["tensor"] += 1
    gpu = _number(kwargs["device"])
    with _disable_current_modes():  # as nothing of it is there on the host
        return tree_map_only(Tensor, lambda t: CudaTensor(t, gpu), factory(*args, **kwargs | {"device": _HOST}))


def _perhaps_made(factory: Any, *args: Any, **kwargs: Any) -> Any:
    return _made(factory, args, kwargs) if _is_cuda(kwargs.get("device")) else factory(*args, **kwargs)


def _moved(
    tensor: Tensor,
    *where: Any,
    device: Any = None,
    dtype: torch.dtype | None = None,
    non_blocking: bool = False,
    **more: Any,
) -> Tensor:
    """`Tensor.to`."""
    for one in where:
        if isinstance(one, Tensor):
            device, dtype = one.device, one.dtype
        elif isinstance(one, torch.dtype):
            dtype = one
        elif isinstance(one, str | torch.device):
            device = one
        elif isinstance(one, bool):
            non_blocking = non_blocking or one
    device = tensor.device if device is None else torch.device(device)
    same = tensor if dtype in (None, tensor.dtype) else tensor.to(dtype)
    if _is_cuda(device):
        gpu = _number(device)
        if isinstance(same, CudaTensor) and same.gpu == gpu:
            return same
        if not isinstance(same, CudaTensor) and not (non_blocking and _is_pinned(tensor)):
            _GPUS.waits["to cuda"] += 1
        return CudaTensor((same.held if isinstance(same, CudaTensor) else same).clone(), gpu)
    if not isinstance(same, CudaTensor):
        return same if device.type == "cpu" else same.to(device)
    _GPUS.waits["to cpu"] += 1
    return same.held.clone() if device.type == "cpu" else same.held.to(device)


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _number(device: Any) -> int:
    number = torch.device(device).index
    return _GPUS.current if number is None else number


def _pinned(tensor: Tensor) -> Tensor:
    """`Tensor.pin_memory`, in whatever thread."""
    made = tensor.clone()
    made._pretend_pinned = True  # type: ignore[attr-defined]
    return made


class _Launcher:
    """A kernel that its interpreter runs, launched as on a GPU."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __getitem__(self, grid: Any) -> Any:
        def launch(*args: Any, **options: Any) -> Any:
            for tensor in (a for a in args if isinstance(a, Tensor)):
                if not isinstance(tensor, CudaTensor) or tensor.gpu != _GPUS.current:
                    raise ValueError(f"Pointer argument cannot be accessed from Triton (a tensor on {tensor.device}?)")
            _GPUS.launches += 1
            return self._kernel[grid](*[a.held if isinstance(a, CudaTensor) else a for a in args], **options)

        return launch


class _Autocast(torch.amp.autocast_mode.autocast):
    """That of the CPU, under the GPU's name."""

    def __init__(self, device_type: str, *args: Any, **options: Any) -> None:
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **options)


def gpus_of(kind: str) -> contextlib.AbstractContextManager[Gpus]:
    """Those of a fixture with the parameters `KINDS`."""
    if kind == "pretend":
        return pretend_cuda()
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    return contextlib.nullcontext(Gpus(real=True))


KINDS = ["pretend", pytest.param("real", marks=pytest.mark.gpu)]


@contextlib.contextmanager
def pretend_cuda() -> Iterator[Gpus]:
    """Meanwhile there are two GPUs."""
    _GPUS.current, _GPUS.launches, _GPUS.waits = 0, 0, Counter()
    with pytest.MonkeyPatch.context() as patch, Pretend(), sdpa_kernel(SDPBackend.MATH):
        _patch_torch(patch)
        if INTERPRETED:
            _patch_triton(patch)
        yield _GPUS


def _patch_torch(patch: pytest.MonkeyPatch) -> None:
    def exchange(number: int) -> int:
        before = _GPUS.current
        _GPUS.current = before if number < 0 else number
        return before

    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "_exchange_device", exchange)
    patch.setattr(torch.cuda, "_maybe_exchange_device", exchange)
    patch.setattr(torch.cuda, "current_device", lambda: _GPUS.current)
    patch.setattr(torch.cuda, "get_rng_state", lambda device="cuda": torch.get_rng_state())
    patch.setattr(torch.cuda, "set_rng_state", lambda state, device="cuda": None)
    patch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: 0)
    patch.setattr(torch.cuda, "get_device_name", lambda device=None: "a pretend GPU")
    patch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    patch.setattr(
        torch.cuda, "get_device_properties", lambda device=None: SimpleNamespace(major=9, total_memory=80 << 30)
    )
    for name in ("arange", "zeros", "ones", "empty", "full"):  # in backward passes, where no mode is active
        factory = getattr(torch, name)
        patch.setattr(torch, name, functools.partial(_perhaps_made, factory))
    patch.setattr(torch.__future__, "_swap_module_params_on_conversion", True)
    patch.setattr(Tensor, "pin_memory", _pinned)
    patch.setattr(Tensor, "is_pinned", _is_pinned)
    asked = torch.is_autocast_enabled, torch.get_autocast_dtype
    patch.setattr(torch, "autocast", _Autocast)
    patch.setattr(torch, "is_autocast_enabled", lambda *of: asked[0]("cpu" if of else "cuda"))
    patch.setattr(torch, "get_autocast_dtype", lambda of: asked[1]("cpu"))
    import transformers

    from xmc.model import bag, saved

    save = transformers.PreTrainedModel.save_pretrained

    def to_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.cpu() for name, tensor in tensors.items()}

    def save_from_host(model: Any, folder: Any, *, state_dict: Mapping[str, Tensor], **options: Any) -> None:
        save(model, folder, state_dict=to_host(state_dict), **options)

    patch.setattr(transformers.PreTrainedModel, "save_pretrained", save_from_host)
    for module in (saved, bag):
        patch.setattr(module, "save_file", lambda tensors, *rest, **o: save_file(to_host(tensors), *rest, **o))


def _patch_triton(patch: pytest.MonkeyPatch) -> None:
    from xmc.ops.fan_in.impl import fused_gpu, triton_kernels, tuning

    def measured(call: Any, **_: Any) -> float:
        call()
        return 1.0

    patch.setattr(fused_gpu.triton.testing, "do_bench", measured)
    patch.setattr(tuning, "TUNER", tuning.Tuner(None))
    multiply_numbers(patch)
    for kernel in ("stream", "carry", "probe"):
        patch.setattr(triton_kernels, kernel, _Launcher(getattr(triton_kernels, kernel)))


def multiply_numbers(patch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter multiplies the bits of bfloat16 as if they were integers; meanwhile it does not."""
    from triton.runtime.interpreter import TensorHandle, interpreter_builder
    from triton.runtime.interpreter import tl as language

    dot = interpreter_builder.create_dot

    def widened(operand: Any) -> Any:
        if operand.dtype.scalar != language.bfloat16:
            return operand
        return TensorHandle((operand.data.astype(np.uint32) << 16).view(np.float32), language.float32)

    patch.setattr(interpreter_builder, "create_dot", lambda a, b, *rest: dot(widened(a), widened(b), *rest))
