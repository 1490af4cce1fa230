"""Microkernels of the numba back end in explicit float32 vectors: the products of features and connections.

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

from xmc.ops.fan_in.impl.vectors import LANES, Emitter, Value, loop, repeat, tiles

_I64 = ir.IntType(64)


@intrinsic
def forward(typing, table, index, group, weight, bias, row, labels, fan_in, active, logits, into):
    """Logits of `labels` labels from `row` on, which share the columns of a group, to the rows from `into` on."""
    arguments = (table, index, group, weight, bias, row, labels, fan_in, active, logits, into)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Value:
        b, mul = builder, builder.mul
        v_group, v_row, v_labels, v_fan_in, v_active, v_into = (values[i] for i in (2, 5, 6, 7, 8, 10))
        width = _width(context, builder, table, values[0])

        def rows(first: Value, count: int, shapes: Sequence[tuple[int, int, int]]) -> None:
            """`count` labels together. shapes: see `_tiles`; chains are sums that run side by side."""

            def tile(e: Emitter, vectors: int, chains: int, lane: Value) -> None:
                p_table, p_index, p_weight, p_bias, p_logits = (
                    e.array(arguments[i], values[i]) for i in (0, 1, 3, 4, 9)
                )
                sums_a_chain = count * vectors

                def connection(slot: Value, sums: list[Value]) -> list[Value]:
                    column = b.sext(b.load(e.element(p_index, mul(v_group, v_fan_in), slot)), _I64)
                    source = e.element(p_table, mul(column, width), lane)
                    features = [e.load(source, v) for v in range(vectors)]
                    new = []
                    for label in range(count):
                        at = mul(b.add(b.add(v_row, first), _I64(label)), v_fan_in)
                        scale = e.splat(b.load(e.element(p_weight, at, slot)))
                        new += [e.fma(features[v], scale, sums[label * vectors + v]) for v in range(vectors)]
                    return new

                def several(i: Value, sums: list[Value]) -> list[Value]:
                    slot, new = mul(i, _I64(chains)), []
                    for chain in range(chains):
                        part = sums[chain * sums_a_chain : (chain + 1) * sums_a_chain]
                        new += connection(b.add(slot, _I64(chain)), part)
                    return new

                start = [
                    e.splat(b.load(e.element(p_bias, b.add(v_row, first), _I64(label))))
                    for label in range(count)
                    for _ in range(vectors)
                ]
                rounds = b.sdiv(v_active, _I64(chains))
                sums = loop(builder, _I64(0), rounds, start + [e.zero] * (sums_a_chain * (chains - 1)), several)
                total = sums[:sums_a_chain]
                for chain in range(1, chains):
                    part = sums[chain * sums_a_chain : (chain + 1) * sums_a_chain]
                    total = [b.fadd(x, y) for x, y in zip(total, part, strict=True)]
                if chains > 1:
                    total = loop(builder, mul(rounds, _I64(chains)), v_active, total, connection)
                for label in range(count):
                    target = e.element(p_logits, mul(b.add(b.add(v_into, first), _I64(label)), width), lane)
                    for v in range(vectors):
                        e.store(total[label * vectors + v], target, v)

            tiles(context, builder, width, shapes, tile)

        quads = b.sdiv(v_labels, _I64(4))
        four, one = ((16, 2, 1), (16, 1, 1), (8, 1, 1)), ((16, 4, 1), (16, 2, 2), (16, 1, 4), (8, 1, 8))
        repeat(builder, _I64(0), quads, lambda i: rows(mul(i, _I64(4)), 4, four))
        repeat(builder, mul(quads, _I64(4)), v_labels, lambda i: rows(i, 1, one))
        return context.get_dummy_value()

    return types.void(*arguments), emit


@intrinsic
def forward_alone(typing, table, index, group, weight, bias, row, labels, size, fan_in, active, logits, into):
    """`forward` of as many groups of `size` as the labels fill, for a single document, whose table has one lane.

    Vectors run along the slots instead.
    """
    arguments = (table, index, group, weight, bias, row, labels, size, fan_in, active, logits, into)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Value:
        b, mul = builder, builder.mul
        e, chains = Emitter(context, builder, LANES // 2), 2
        p_table, p_index, p_weight, p_bias, p_logits = (e.array(arguments[i], values[i]) for i in (0, 1, 3, 4, 10))
        v_group, v_row, v_labels, v_size, v_fan_in, v_active, v_into = (values[i] for i in (2, 5, 6, 7, 8, 9, 11))
        at_once = _I64(e.lanes * chains)
        rounds = b.sdiv(v_active, at_once)

        def label(j: Value, columns: Value) -> None:
            weights = e.element(p_weight, mul(b.add(v_row, j), v_fan_in))

            def feature(slot: Value) -> Value:
                return b.load(e.element(p_table, b.sext(b.load(e.element(columns, slot)), _I64)))

            def several(i: Value, sums: list[Value]) -> list[Value]:
                new = []
                for chain, total in enumerate(sums):
                    start = b.add(mul(i, at_once), _I64(chain * e.lanes))
                    gathered = e.join([feature(b.add(start, _I64(lane))) for lane in range(e.lanes)])
                    new.append(e.fma(gathered, e.load(e.element(weights, start)), total))
                return new

            def one(slot: Value, sums: list[Value]) -> list[Value]:
                return [b.fadd(sums[0], b.fmul(feature(slot), b.load(e.element(weights, slot))))]

            first, second = loop(b, _I64(0), rounds, [e.zero] * chains, several)
            total = b.fadd(b.load(e.element(p_bias, b.add(v_row, j))), e.sum(b.fadd(first, second)))
            (total,) = loop(b, mul(rounds, at_once), v_active, [total], one)
            b.store(total, e.element(p_logits, b.add(v_into, j)))

        def labels_of(i: Value) -> None:
            columns, start = e.element(p_index, mul(b.add(v_group, i), v_fan_in)), mul(i, v_size)
            stop = b.add(start, v_size)
            stop = b.select(b.icmp_signed("<", stop, v_labels), stop, v_labels)
            repeat(b, start, stop, lambda j: label(j, columns))

        repeat(b, _I64(0), b.sdiv(b.sub(b.add(v_labels, v_size), _I64(1)), v_size), labels_of)
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

        tiles(context, builder, width, ((16, 4, 1), (16, 2, 1), (16, 1, 1), (8, 1, 1)), tile)
        return context.get_dummy_value()

    return types.void(*arguments), emit


def _width(context: Any, builder: Any, table: Any, value: Value) -> Value:
    """W of a table [D, W]."""
    shape = context.make_array(table)(context, builder, value).shape
    return builder.extract_value(shape, 1)
