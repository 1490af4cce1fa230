"""How many bytes of tensors are alive at once while a model runs on the meta device, which computes nothing."""

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

_NARROW = {F.linear, F.bilinear, torch.matmul, torch.bmm, Tensor.matmul, Tensor.__matmul__}
_WIDE = {F.layer_norm, F.softmax, torch.softmax, Tensor.softmax}


class LiveBytes(TorchDispatchMode):
    """Follows every storage that an operator makes until it is freed. now, peak: bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return False  # whether a padding mask is full, before it is left out
        outputs = func(*args, **(kwargs or {}))
        given = {tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(outputs):
            if tensor.untyped_storage()._cdata not in given:  # no view
                self._follow(tensor.untyped_storage())
        return outputs

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self.now += size
        self.peak = max(self.peak, self.now)

        def freed(_: object) -> None:
            del self._known[key]
            self.now -= size

        self._known[key] = weakref.ref(storage, freed)


class CudaAutocast(TorchFunctionMode):
    """The types that autocast to bfloat16 gives on CUDA, and attention that keeps no T x T matrix, as there."""

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self._enabled = enabled

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        attention = func is F.scaled_dot_product_attention
        if self._enabled and (attention or func in _NARROW | _WIDE):
            dtype = torch.float32 if func in _WIDE else torch.bfloat16
            args, options = tree_map_only(
                Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t, (args, options)
            )
        if attention:
            query, key, value = args[:3]
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)[0]
        return func(*args, **options)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_iter(tree) if isinstance(leaf, Tensor)]
