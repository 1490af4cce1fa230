"""The Triton kernel: a tile of labels x all documents of a batch a program; see `fused_gpu.py`.

MODE: 0 binary cross-entropy, 1 squared hinge, 2 write the logits, 3 read their gradient. Pointers that a mode does not
use may point anywhere.
"""

import triton
import triton.language as tl


@triton.jit
def probe(out):
    """Whether a kernel can be built and launched at all."""
    tl.store(out, 1.0)


@triton.jit
def _loss_and_gradient(z, positive, MODE: tl.constexpr):
    """As `xmc.ops.losses`: a positive's sign is turned before and after."""
    m = tl.where(positive, -z, z)
    if MODE == 0:
        odds = tl.exp(-tl.abs(m))
        # log1p(odds) = 2 artanh(s), s = odds / (2 + odds) <= 1/3: exact where odds are tiny, as log(1 + odds) is not
        s = odds / (2.0 + odds)
        q = s * s
        series = 1.0 + q * (1 / 3 + q * (0.2 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13 + q / 15))))))
        loss = tl.where(m > 0, m, 0.0) + 2.0 * s * series + (m - m)
        gradient = tl.where(m > 0, 1.0 / (1.0 + odds), odds / (1.0 + odds))
    else:
        margin = tl.where(m < -1.0, 0.0, m + 1.0)
        loss = margin * margin
        gradient = 2.0 * margin
    return loss, tl.where(positive, -gradient, gradient)


@triton.jit
def _is_positive(starts, labels, documents, tile, first, L: tl.constexpr, B: tl.constexpr):
    """Mask [L, B] of the positives of a tile that begins at label `first`."""
    rows, columns = tl.arange(0, L)[:, None], tl.arange(0, B)[None, :]
    mask = tl.zeros([L, B], dtype=tl.int32)
    for p in range(tl.load(starts + tile), tl.load(starts + tile + 1)):
        row, column = tl.load(labels + p) - first, tl.load(documents + p)
        mask += ((rows == row) & (columns == column)).to(tl.int32)
    return mask > 0


@triton.jit
def _mix(x):
    """splitmix64, as in `xmc.ops.counter_rng`."""
    x = x + 0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


@triton.jit
def _rounded(value, key, label, slot, WEIGHT: tl.constexpr):
    """`value` in the type of the weights; bfloat16 rounds stochastically, as `xmc.ops.counter_rng.rounded`."""
    if tl.bfloat16 == WEIGHT:
        bits = _mix(_mix(key.to(tl.uint64) + label.to(tl.uint64)) + slot.to(tl.uint64)) & 0xFFFF
        raised = (value.to(tl.int32, bitcast=True) + bits.to(tl.int32)) & -0x10000
        result = raised.to(tl.float32, bitcast=True).to(tl.bfloat16)
    else:
        result = value
    return result


@triton.jit
def stream(
    table,
    index,
    weight,
    bias,
    starts,
    positive_labels,
    positive_documents,
    logits,
    logits_stride,
    sums,
    sums_scale,
    grad_weight,
    grad_bias,
    applies,
    losses,
    n_labels,
    batch,
    fan_in,
    active,
    scale,
    lr,
    decay,
    key,
    label_offset,
    size,
    MODE: tl.constexpr,
    IN_PLACE: tl.constexpr,
    GROUPED: tl.constexpr,
    ADDS: tl.constexpr,
    L: tl.constexpr,
    B: tl.constexpr,
    K: tl.constexpr,
):
    """A tile of labels and all documents.

    The labels are L with columns of their own, one connection at a time; or, if GROUPED, a group of `size` that share
    their columns, K connections at a time. ADDS: to the gradient of the features, in fixed point; if not, the gradient
    of the logits is written in their place, for `carry`.
    """
    tile = tl.program_id(0).to(tl.int64)
    member = tl.arange(0, L)
    if GROUPED:
        first = tile * size
        lives = (member < size) & (first + member < n_labels)
    else:
        first = tile * L
        lives = first + member < n_labels
    label = first + member
    document = tl.arange(0, B)
    reads = document < batch
    inside = lives[:, None] & reads[None, :]
    row = label * fan_in
    z = tl.zeros([L, B], dtype=tl.float32)
    if MODE != 3:
        if GROUPED:
            for start in range(0, active, K):
                slot = start + tl.arange(0, K)
                column = tl.load(index + tile * fan_in + slot, mask=slot < active, other=0).to(tl.int64)
                connected = lives[:, None] & (slot < active)[None, :]
                w = tl.load(weight + row[:, None] + slot[None, :], mask=connected, other=0.0)
                known = (slot < active)[:, None] & reads[None, :]
                x = tl.load(table + column[:, None] * batch + document[None, :], mask=known, other=0.0)
                z = tl.dot(w.to(x.dtype), x, acc=z, input_precision="ieee")
            z += tl.load(bias + label, mask=lives, other=0.0).to(tl.float32)[:, None]
        else:
            z += tl.load(bias + label, mask=lives, other=0.0).to(tl.float32)[:, None]
            for k in range(active):
                column = tl.load(index + row + k, mask=lives, other=0).to(tl.int64)
                w = tl.load(weight + row + k, mask=lives, other=0.0).to(tl.float32)
                z += w[:, None] * tl.load(table + column[:, None] * batch + document[None, :], mask=inside, other=0.0)
    place = label[:, None] * logits_stride + document[None, :]
    if MODE == 2:
        tl.store(logits + place, z, mask=inside)
    else:
        if MODE == 3:
            g = tl.load(logits + place, mask=inside, other=0.0).to(tl.float32)
        else:
            positive = _is_positive(starts, positive_labels, positive_documents, tile, first, L, B)
            loss, g = _loss_and_gradient(z, positive, MODE)
            tl.store(losses + tile, tl.sum(tl.where(inside, loss, 0.0)))
            g = tl.where(inside, g * scale, 0.0)
            if not ADDS:
                tl.store(logits + place, g, mask=inside)
        if ADDS:
            fixed = tl.load(sums_scale)
        steps = lives
        if IN_PLACE:
            steps = lives & (tl.load(applies + member * 0) != 0)
        if GROUPED:
            for start in range(0, fan_in, K):
                slot = start + tl.arange(0, K)
                column = tl.load(index + tile * fan_in + slot, mask=slot < fan_in, other=0).to(tl.int64)
                connected = lives[:, None] & (slot < fan_in)[None, :]
                place_LK = row[:, None] + slot[None, :]
                w = tl.load(weight + place_LK, mask=connected, other=0.0)
                known = (slot < fan_in)[:, None] & reads[None, :]
                at = column[:, None] * batch + document[None, :]
                x = tl.load(table + at, mask=known, other=0.0)
                gradient = tl.dot(g.to(x.dtype), tl.trans(x), input_precision="ieee")
                if ADDS:
                    carried = tl.dot(tl.trans(w).to(x.dtype), g.to(x.dtype), input_precision="ieee")
                    carries = (slot < active)[:, None] & reads[None, :]
                    tl.atomic_add(sums + at, tl.floor(carried * fixed + 0.5).to(tl.int64), mask=carries)
                if IN_PLACE:
                    stepped = w.to(tl.float32) * decay - lr * gradient
                    slots = slot[None, :] + label[:, None] * 0
                    stepped = _rounded(stepped, key, (label + label_offset)[:, None], slots, weight.dtype.element_ty)
                    tl.store(weight + place_LK, stepped, mask=connected & steps[:, None])
                else:
                    tl.store(grad_weight + place_LK, gradient, mask=connected)
        else:
            for k in range(fan_in):
                column = tl.load(index + row + k, mask=lives, other=0).to(tl.int64)
                w = tl.load(weight + row + k, mask=lives, other=0.0).to(tl.float32)
                at = column[:, None] * batch + document[None, :]
                gradient = tl.sum(g * tl.load(table + at, mask=inside, other=0.0), axis=1)
                if ADDS:
                    carried = tl.floor(w[:, None] * g * fixed + 0.5).to(tl.int64)
                    if k < active:
                        tl.atomic_add(sums + at, carried, mask=inside)
                if IN_PLACE:
                    stepped = _rounded(
                        w * decay - lr * gradient, key, label + label_offset, k + label * 0, weight.dtype.element_ty
                    )
                    tl.store(weight + row + k, stepped, mask=steps)
                else:
                    tl.store(grad_weight + row + k, gradient, mask=lives)
        total = tl.sum(g, axis=1)
        if IN_PLACE:
            b = tl.load(bias + label, mask=lives, other=0.0)
            tl.store(bias + label, b - lr * total, mask=steps)
        else:
            tl.store(grad_bias + label, total, mask=lives)


@triton.jit
def carry(
    gradient,
    index,
    weight,
    scratch,
    partial,
    n_labels,
    labels,
    width,
    batch,
    fan_in,
    active,
    size,
    L: tl.constexpr,
    B: tl.constexpr,
    D: tl.constexpr,
    K: tl.constexpr,
):
    """What a chunk of `labels` gives to the gradient of the features, for B documents and D columns.

    Of L labels at a time the weights are spread over the columns in a scratch, K connections at once, and multiplied
    by the gradient of the logits. scratch: float32 [programs, L, D]. gradient: [n_labels, batch]. partial: float32
    [chunks, batch, width]. Offsets but for the program's are 32-bit, without which registers would spill.
    """
    columns, documents, chunk = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    program = (chunk * tl.num_programs(1) + documents) * tl.num_programs(0) + columns
    member, slots, column = tl.arange(0, L), tl.arange(0, K), tl.arange(0, D)
    document = documents * B + tl.arange(0, B)
    reads = document < batch
    scratch += program.to(tl.int64) * (L * D)
    spread = scratch + member[:, None] * D + column[None, :]
    sums = tl.zeros([B, D], dtype=tl.float32)
    for first in range(chunk * labels, tl.minimum(n_labels, (chunk + 1) * labels), L):
        tl.store(spread, tl.zeros([L, D], dtype=tl.float32))
        tl.debug_barrier()
        label = first + member
        lives = label < n_labels
        for start in range(0, active, K):
            slot = start + slots
            connected = lives[:, None] & (slot < active)[None, :]
            at = tl.load(index + label[:, None] // size * fan_in + slot[None, :], mask=connected, other=0)
            at = at.to(tl.int32) - columns * D
            here = connected & (at >= 0) & (at < D)
            w = tl.load(weight + label[:, None] * fan_in + slot[None, :], mask=here, other=0.0).to(tl.float32)
            tl.atomic_add(scratch + member[:, None] * D + at, w, mask=here, sem="relaxed")  # a column may stand twice
        tl.debug_barrier()
        there = gradient + label[:, None] * batch + document[None, :]
        g = tl.load(there, mask=lives[:, None] & reads[None, :], other=0.0)
        sums = tl.dot(tl.trans(g), tl.load(spread).to(g.dtype), acc=sums, input_precision="ieee")
        tl.debug_barrier()  # the scratch is read
    inside = reads[:, None] & (columns * D + column < width)[None, :]
    partial += chunk.to(tl.int64) * batch * width
    tl.store(partial + document[:, None] * width + columns * D + column[None, :], sums, mask=inside)
