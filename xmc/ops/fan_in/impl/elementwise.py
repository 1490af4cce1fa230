"""Microkernels of the numba back end over rows: losses, updates and sums. See `microkernels.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from xmc.ops.fan_in.impl.vectors import LANES, Emitter, Value, exp, loop, tiles

_I64 = ir.IntType(64)


@intrinsic
def bce(typing, logits, row, width, scale, losses):
    """In one row of logits: losses += softplus(logits), logits = scale * sigmoid(logits). NaN stays NaN."""

    def emit_vector(e: Emitter, z: Value, scale: Value) -> tuple[Value, Value]:
        b = e.b
        negative = b.fcmp_ordered("<", z, e.zero)
        magnitude = b.select(negative, z, b.fsub(e.zero, z))  # -|z|
        odds = exp(e, magnitude)  # in (0, 1]
        one, two = b.fadd(odds, e.constant(1.0)), b.fadd(odds, e.constant(2.0))
        shared = b.fdiv(e.constant(1.0), b.fmul(one, two))
        # log1p(odds) = 2 artanh(s), s = odds / (2 + odds) <= 1/3
        s = b.fmul(b.fmul(odds, one), shared)
        square = b.fmul(s, s)
        series = e.polynomial(square, [2 / 15, 2 / 13, 2 / 11, 2 / 9, 2 / 7, 2 / 5, 2 / 3, 2.0])
        positive_part = b.select(negative, e.zero, z)
        smaller = b.fmul(two, shared)  # 1 / (1 + odds)
        sigmoid = b.select(negative, b.fmul(odds, smaller), smaller)
        return e.fma(s, series, positive_part), b.fmul(sigmoid, scale)

    arguments = (logits, row, width, scale, losses)
    return types.void(*arguments), _elementwise(arguments, emit_vector)


@intrinsic
def squared_hinge(typing, logits, row, width, scale, losses):
    """In one row of logits: losses += max(0, 1 + logits)^2, logits = scale * its derivative. NaN stays NaN."""

    def emit_vector(e: Emitter, z: Value, scale: Value) -> tuple[Value, Value]:
        b = e.b
        margin = b.fadd(z, e.constant(1.0))
        margin = b.select(b.fcmp_ordered("<", margin, e.zero), e.zero, margin)
        return b.fmul(margin, margin), b.fmul(b.fmul(margin, e.constant(2.0)), scale)

    arguments = (logits, row, width, scale, losses)
    return types.void(*arguments), _elementwise(arguments, emit_vector)


def _elementwise(
    arguments: Sequence[Any], emit_vector: Callable[[Emitter, Value, Value], tuple[Value, Value]]
) -> Callable[..., Value]:
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Value:
        def vectors(e: Emitter, i: Value) -> None:
            p_logits, p_scale, p_losses = (e.array(arguments[n], values[n]) for n in (0, 3, 4))
            row = e.element(p_logits, builder.mul(values[1], values[2]))
            z, scale, losses = (e.element(p, i) for p in (row, p_scale, p_losses))
            loss, gradient = emit_vector(e, e.load(z), e.load(scale))
            e.store(builder.fadd(e.load(losses), loss), losses)
            e.store(gradient, z)

        _over_a_row(context, builder, values[2], (LANES, LANES // 2), vectors)
        return context.get_dummy_value()

    return emit


@intrinsic
def sgd_update(typing, weight, row, fan_in, gradient, gradient_row, decay, rate):
    """One row: weight = decay * weight - rate * gradient; the gradient is zero afterwards."""
    arguments = (weight, row, fan_in, gradient, gradient_row, decay, rate)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Value:
        def vectors(e: Emitter, i: Value) -> None:
            p_weight = e.element(e.array(weight, values[0]), builder.mul(values[1], values[2]), i)
            p_gradient = e.element(e.array(gradient, values[3]), builder.mul(values[4], values[2]), i)
            step = builder.fmul(e.load(p_gradient), e.splat(builder.fneg(values[6])))
            e.store(e.fma(e.load(p_weight), e.splat(values[5]), step), p_weight)
            e.store(e.zero, p_gradient)

        _over_a_row(context, builder, values[2], (LANES, 1), vectors)
        return context.get_dummy_value()

    return types.void(*arguments), emit


@intrinsic
def row_sum(typing, rows, row, width):
    """Sum of one row."""
    arguments = (rows, row, width)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Value:
        e = Emitter(context, builder, 8)
        start = e.element(e.array(rows, values[0]), builder.mul(values[1], values[2]))

        def vector(i: Value, sums: list[Value]) -> list[Value]:
            return [builder.fadd(sums[0], e.load(e.element(start, builder.mul(i, _I64(e.lanes)))))]

        return e.sum(*loop(builder, _I64(0), builder.sdiv(values[2], _I64(e.lanes)), [e.zero], vector))

    return types.float32(*arguments), emit


def _over_a_row(
    context: Any, builder: Any, width: Value, lanes: Sequence[int], body: Callable[[Emitter, Value], None]
) -> None:
    """body(emitter, first lane) over `width` numbers: vectors of lanes[0] while they fit, then of lanes[1]."""
    tiles(context, builder, width, [(n, 1, 1) for n in lanes], lambda e, _vectors, _labels, lane: body(e, lane))
