"""Microkernels of the numba back end in explicit float32 vectors: products over connections, losses, updates, sums.

numba's loops keep sums in memory and form `exp` number by number. These few functions are emitted as LLVM IR instead:
sums stay in registers, and the order of every sum is written down, so it depends on no optimiser and no thread count.
LLVM splits a vector of 16 where the machine's registers are narrower. `scripts/benchmarks/microkernels.py` measures it.

Arrays, all C-contiguous: table [D, W], the features transposed, each column of the batch padded to W lanes; index
[G, K] int16 or int32; weight [L, K]; rows of logits or gradients [n, W]. numba counts the references to an array
whenever one of its functions hands it to another, at 5 ns a count; so whole loops stand here, to the last ragged tile.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from xmc.ops.fan_in.impl.vectors import LANES, Emitter, Value, exp, loop, repeat, tiles

_I64 = ir.IntType(64)
# lanes a vector, vectors a tile, and labels at once: of labels with columns of their own, and that share them
_APART = ((16, 4, 1), (16, 2, 2), (16, 1, 4), (8, 1, 8))
_OF_A_GROUP = ((16, 2, 4), (16, 1, 4), (8, 1, 4))
_ALONE = ((16, 4, 1), (16, 2, 1), (16, 1, 1), (8, 1, 1))


@intrinsic
def forward(typing, table, index, group, weight, bias, row, labels, size, fan_in, active, logits, into):
    """Logits of `labels` labels from `row` on, the first of the groups of `size` from `group` on, to the rows from
    `into` on.

    Each is the bias, to which the products are added slot by slot: the same bits whatever else is in the table. What
    runs side by side are labels, the more of them the fewer lanes there are.
    """
    arguments = (table, index, group, weight, bias, row, labels, size, fan_in, active, logits, into)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Value:
        b, mul, add = builder, builder.mul, builder.add
        v_group, v_row, v_labels, v_size, v_fan_in, v_active, v_into = (values[i] for i in (2, 5, 6, 7, 8, 9, 11))
        width = _width(context, builder, table, values[0])

        def rows(
            e: Emitter, vectors: int, count: int, lane: Value, first: Value, group_of: Callable[[int], Value]
        ) -> None:
            """`count` labels together, from the `first` one on. group_of: the row of the index of each."""
            p_table, p_index, p_weight, p_bias, p_logits = (e.array(arguments[i], values[i]) for i in (0, 1, 3, 4, 10))
            places = [add(first, _I64(label)) for label in range(count)]
            groups = [group_of(label) for label in range(count)]

            def connection(slot: Value, sums: list[Value]) -> list[Value]:
                new, features, before = [], [], None
                for label, (place, of_label) in enumerate(zip(places, groups, strict=True)):
                    if of_label is not before:
                        column = b.sext(b.load(e.element(p_index, mul(of_label, v_fan_in), slot)), _I64)
                        source = e.element(p_table, mul(column, width), lane)
                        features, before = [e.load(source, v) for v in range(vectors)], of_label
                    scale = e.splat(b.load(e.element(p_weight, mul(add(v_row, place), v_fan_in), slot)))
                    new += [e.fma(features[v], scale, sums[label * vectors + v]) for v in range(vectors)]
                return new

            biases = [e.splat(b.load(e.element(p_bias, add(v_row, place)))) for place in places]
            sums = loop(b, _I64(0), v_active, [bias for bias in biases for _ in range(vectors)], connection)
            for label, place in enumerate(places):
                target = e.element(p_logits, mul(add(v_into, place), width), lane)
                for v in range(vectors):
                    e.store(sums[label * vectors + v], target, v)

        def runs(start: Value, stop: Value, count: int, body: Callable[[Value, int], None]) -> None:
            """`count` labels at a time, and those that are left one by one."""
            many = b.sdiv(b.sub(stop, start), _I64(count))
            repeat(b, _I64(0), many, lambda i: body(add(start, mul(i, _I64(count))), count))
            repeat(b, add(start, mul(many, _I64(count))), stop, lambda i: body(i, 1))

        def apart(e: Emitter, vectors: int, count: int, lane: Value) -> None:
            def body(first: Value, number: int) -> None:
                rows(e, vectors, number, lane, first, lambda label: add(v_group, add(first, _I64(label))))

            runs(_I64(0), v_labels, count, body)

        def together(i: Value) -> None:
            own, start = add(v_group, i), mul(i, v_size)
            stop = add(start, v_size)
            stop = b.select(b.icmp_signed("<", stop, v_labels), stop, v_labels)

            def body(first: Value, number: int) -> None:
                def tile(e: Emitter, vectors: int, _: int, lane: Value) -> None:
                    rows(e, vectors, number, lane, first, lambda _: own)

                tiles(context, b, width, _OF_A_GROUP if number > 1 else _ALONE, tile)

            runs(start, stop, 4, body)

        with b.if_else(b.icmp_signed("==", v_size, _I64(1))) as (each, shared):
            with each:
                tiles(context, b, width, _APART, apart)
            with shared:
                repeat(b, _I64(0), b.sdiv(b.sub(add(v_labels, v_size), _I64(1)), v_size), together)
        return context.get_dummy_value()

    return types.void(*arguments), emit


@intrinsic
def backward(
    typing, table, grad_table, index, group, weight, row, labels, fan_in, active, gradient, origin, grad_weight, into
):
    """Gradients of `labels` labels from `row` on, which share the columns of a group.

    From the gradient of their logits in the rows from `origin` on, the gradient of the weights is added to the rows
    from `into` on, for all slots, and that of the features to grad_table, for the first `active` ones.
    """
    arguments = (
        *(table, grad_table, index, group, weight, row, labels, fan_in, active),
        *(gradient, origin, grad_weight, into),
    )

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Value:
        b, mul = builder, builder.mul
        v_group, v_row, v_labels, v_fan_in, v_active, v_origin, v_into = (values[i] for i in (3, 5, 6, 7, 8, 10, 12))
        width = _width(context, builder, table, values[0])

        def tile(e: Emitter, vectors: int, _: int, lane: Value) -> None:
            p_table, p_grad_table, p_index, p_weight, p_gradient, p_grad_weight = (
                e.array(arguments[i], values[i]) for i in (0, 1, 2, 4, 9, 11)
            )

            def slots(with_features: bool) -> Callable[[Value, list[Value]], list[Value]]:
                def connection(slot: Value, _: list[Value]) -> list[Value]:
                    column = b.sext(b.load(e.element(p_index, mul(v_group, v_fan_in), slot)), _I64)
                    offset = b.add(mul(column, width), lane)
                    source, sink = e.element(p_table, offset), e.element(p_grad_table, offset)
                    features = [e.load(source, v) for v in range(vectors)]

                    def label(j: Value, sums: list[Value]) -> list[Value]:
                        row_gradient = e.element(p_gradient, mul(b.add(v_origin, j), width), lane)
                        gradients = [e.load(row_gradient, v) for v in range(vectors)]
                        product = b.fmul(features[0], gradients[0])
                        for v in range(1, vectors):
                            product = e.fma(features[v], gradients[v], product)
                        target = e.element(p_grad_weight, mul(b.add(v_into, j), v_fan_in), slot)
                        b.store(b.fadd(b.load(target), e.sum(product)), target)
                        if not sums:
                            return []
                        at = mul(b.add(v_row, j), v_fan_in)
                        scale = e.splat(b.load(e.element(p_weight, at, slot)))
                        return [e.fma(g, scale, s) for g, s in zip(gradients, sums, strict=True)]

                    sums = [e.load(sink, v) for v in range(vectors)] if with_features else []
                    for v, value in enumerate(loop(builder, _I64(0), v_labels, sums, label)):
                        e.store(value, sink, v)
                    return []

                return connection

            loop(builder, _I64(0), v_active, [], slots(True))
            loop(builder, v_active, v_fan_in, [], slots(False))

        tiles(context, builder, width, _ALONE, tile)
        return context.get_dummy_value()

    return types.void(*arguments), emit


def _width(context: Any, builder: Any, table: Any, value: Value) -> Value:
    """W of a table [D, W]."""
    shape = context.make_array(table)(context, builder, value).shape
    return builder.extract_value(shape, 1)


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
