"""A hint to the processor, for numba's kernels."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTE, _I32 = ir.IntType(8).as_pointer(), ir.IntType(32)
_READ, _ALL_CACHES, _DATA = _I32(0), _I32(3), _I32(1)


@intrinsic
def prefetch(typing, array, place):  # type: ignore[no-untyped-def]
    """Have array[place], of a contiguous array, brought into the cache while other work goes on. It may lie outside."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        pointer = builder.bitcast(builder.gep(data, [values[1]]), _BYTE)
        signature = ir.FunctionType(ir.VoidType(), [_BYTE, _I32, _I32, _I32])
        hint = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0i8")
        builder.call(hint, [pointer, _READ, _ALL_CACHES, _DATA])
        return context.get_dummy_value()

    return types.void(array, place), emit
