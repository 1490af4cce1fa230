"""Explicit vectors of float32 in LLVM IR, for the microkernels of the numba back end."""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

LANES = 16

_F32, _I64, _I32 = ir.FloatType(), ir.IntType(64), ir.IntType(32)
Value = Any  # an llvmlite value


class Emitter:
    """Vectors of `lanes` float32 over an llvmlite builder."""

    def __init__(self, context: Any, builder: Any, lanes: int) -> None:
        self.context, self.b, self.lanes = context, builder, lanes
        self.vector = ir.VectorType(_F32, lanes)
        self.zero = self.constant(0.0)

    def constant(self, value: float) -> Value:
        return ir.Constant(self.vector, [value] * self.lanes)

    def integers(self, value: int) -> Value:
        return ir.Constant(ir.VectorType(_I32, self.lanes), [value] * self.lanes)

    def array(self, array_type: Any, value: Value) -> Value:
        """Pointer to the first element of a numba array."""
        return self.context.make_array(array_type)(self.context, self.b, value).data

    def element(self, pointer: Value, *offsets: Value) -> Value:
        total = offsets[0]
        for offset in offsets[1:]:
            total = self.b.add(total, offset)
        return self.b.gep(pointer, [total])

    def load(self, pointer: Value, vector: int = 0) -> Value:
        """The `vector`-th vector from `pointer` on, at any alignment."""
        value = self.b.load(self.b.bitcast(self._at(pointer, vector), self.vector.as_pointer()))
        value.align = 4
        return value

    def store(self, value: Value, pointer: Value, vector: int = 0) -> None:
        self.b.store(value, self.b.bitcast(self._at(pointer, vector), self.vector.as_pointer())).align = 4

    def _at(self, pointer: Value, vector: int) -> Value:
        return self.b.gep(pointer, [_I64(vector * self.lanes)]) if vector else pointer

    def splat(self, scalar: Value) -> Value:
        undefined = ir.Constant(self.vector, ir.Undefined)
        return self.b.shuffle_vector(self.b.insert_element(undefined, scalar, _I32(0)), undefined, self.integers(0))

    def join(self, scalars: Sequence[Value]) -> Value:
        value = ir.Constant(self.vector, ir.Undefined)
        for lane, scalar in enumerate(scalars):
            value = self.b.insert_element(value, scalar, _I32(lane))
        return value

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        signature = ir.FunctionType(self.vector, [self.vector] * 3)
        name = f"llvm.fma.v{self.lanes}f32"
        return self.b.call(cgutils.get_or_insert_function(self.b.module, signature, name), [x, y, z])

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """Horner's scheme, the highest power first."""
        value = self.constant(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.fma(value, x, self.constant(coefficient))
        return value

    def sum(self, value: Value) -> Value:
        """All lanes, by halves."""
        lanes = self.lanes
        while lanes > 1:
            lanes //= 2
            undefined = ir.Constant(value.type, ir.Undefined)
            halves = [
                self.b.shuffle_vector(
                    value, undefined, ir.Constant(ir.VectorType(_I32, lanes), list(range(start, start + lanes)))
                )
                for start in (0, lanes)
            ]
            value = self.b.fadd(*halves)
        return self.b.extract_element(value, _I32(0))


def repeat(builder: Any, start: Value, stop: Value, body: Callable[[Value], None]) -> None:
    """For i in [start, stop): body(i)."""

    def carry_nothing(i: Value, _: list[Value]) -> list[Value]:
        body(i)
        return []

    loop(builder, start, stop, [], carry_nothing)


def loop(
    b: Any, start: Value, stop: Value, carried: list[Value], body: Callable[[Value, list[Value]], list[Value]]
) -> list[Value]:
    """For i in [start, stop): carried = body(i, carried). Returns what is carried at the end."""
    before = b.block
    head, inside, after = (b.append_basic_block(name) for name in ("head", "body", "after"))
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(_I64)
    i.add_incoming(start, before)
    phis = [b.phi(value.type) for value in carried]
    for phi, value in zip(phis, carried, strict=True):
        phi.add_incoming(value, before)
    b.cbranch(b.icmp_signed("<", i, stop), inside, after)
    b.position_at_end(inside)
    new = body(i, phis)
    i.add_incoming(b.add(i, _I64(1)), b.block)
    for phi, value in zip(phis, new, strict=True):
        phi.add_incoming(value, b.block)
    b.branch(head)
    b.position_at_end(after)
    return phis


def tiles(
    context: Any,
    builder: Any,
    width: Value,
    shapes: Sequence[tuple[int, int, int]],
    emit_tile: Callable[[Emitter, int, int, Value], None],
) -> None:
    """emit_tile(emitter, vectors, labels, first lane) over `width` lanes, in tiles as large as fit.

    shapes: lanes a vector, vectors a tile and labels at once, of the largest tile first.
    """
    done: Value = _I64(0)
    for lanes, vectors, labels in shapes:
        e, tile = Emitter(context, builder, lanes), _I64(lanes * vectors)
        fitting = builder.sdiv(builder.sub(width, done), tile)

        def emit(i: Value, e: Emitter = e, vectors: int = vectors, labels: int = labels, done: Value = done) -> None:
            emit_tile(e, vectors, labels, builder.add(done, builder.mul(i, _I64(e.lanes * vectors))))

        repeat(builder, _I64(0), fitting, emit)
        done = builder.add(done, builder.mul(fitting, tile))


def exp(e: Emitter, x: Value) -> Value:
    """exp(x) for x <= 0, within 2 ulp; 0 below -87. Coefficients: Cephes, expf."""
    b = e.b
    floor = e.constant(-87.0)
    x = b.select(b.fcmp_ordered("<", x, floor), floor, x)
    magic = e.constant(1.5 * 2**23)  # adding it rounds to an integer, which then stands in the low bits
    shifted = e.fma(x, e.constant(1.44269504088896341), magic)
    n = b.fsub(shifted, magic)
    r = e.fma(n, e.constant(-0.693359375), x)
    r = e.fma(n, e.constant(2.12194440e-4), r)
    p = e.polynomial(
        r, [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1]
    )
    y = e.fma(p, b.fmul(r, r), b.fadd(r, e.constant(1.0)))
    integers = ir.VectorType(_I32, e.lanes)
    exponent = b.add(b.shl(b.bitcast(shifted, integers), e.integers(23)), e.integers(127 << 23))
    return b.fmul(y, b.bitcast(exponent, e.vector))
