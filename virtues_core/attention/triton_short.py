"""Our Triton kernel for short packed sequences: one small masked product per tile and head.

A tile holds whole sequences (`Layout.tiles`), so its attention is block-diagonal and needs no loop
and no running softmax. The kernels read and write the packed tokens where they lie: forward moves
q, k, v and the result once; backward computes the probabilities anew, so that nothing but q, k
and v is kept, and writes each gradient once, without atomics: it is deterministic.

Imported when it is chosen: Triton is optional. TRITON_INTERPRET=1 runs the kernels on the CPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from virtues_core.attention import api
from virtues_core.attention.layout import Layout
from virtues_core.attention.sdpa import attend  # noqa: F401  sequences of equal length need no tiles

LOG2_E = tl.constexpr(1.4426950408889634)
SMALLEST = 16  # the least width of a product on tensor cores


def attend_packed(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
    """Attend within packed sequences; shapes as in `virtues_core.attention.attend_packed`."""
    tiles = layout.tiles
    if tiles is None:
        return api.select_for_long(q).attend_packed(q, k, v, layout)
    out = attend_tiles(q, k, v, tiles.tokens, tiles.sequences, tiles.long is None)
    if tiles.long is None:
        return out
    rest = (x.index_select(0, tiles.long_tokens) for x in (q, k, v))
    rest = api.select_for_long(q).attend_packed(*rest, tiles.long)
    return out.index_copy(0, tiles.long_tokens, rest)


@torch.library.custom_op("virtues::attend_tiles", mutates_args=())
def attend_tiles(
    q: Tensor, k: Tensor, v: Tensor, tokens: Tensor, sequences: Tensor, complete: bool
) -> Tensor:
    """Attend within the sequences of tiles; tokens in no tile, if not `complete`, give zeros.

    Takes q, k, v [N, heads, head_width], which may be parts of one tensor, and tokens and sequences
    of the tiles, int32 [tiles, size]. Returns [N, heads, head_width].
    """
    out = _like(q, complete)
    _launch(_forward, tokens, sequences, (q, k, v, out))
    return out


@torch.library.custom_op("virtues::attend_tiles_backward", mutates_args=())
def attend_tiles_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tokens: Tensor,
    sequences: Tensor,
    complete: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k and v, given that of the result [N, heads, head_width]."""
    grads = tuple(_like(x, complete) for x in (q, k, v))
    _launch(_backward, tokens, sequences, (q, k, v, grad, *grads))
    return grads


@attend_tiles.register_fake
def _(q, k, v, tokens, sequences, complete):
    return _like(q, complete)


@attend_tiles_backward.register_fake
def _(grad, q, k, v, tokens, sequences, complete):
    return tuple(_like(x, complete) for x in (q, k, v))


def _keep(ctx, inputs, output):
    *tensors, ctx.complete = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, grad):
    return *attend_tiles_backward(grad, *ctx.saved_tensors, ctx.complete), None, None, None


attend_tiles.register_autograd(_differentiate, setup_context=_keep)


def _like(x: Tensor, complete: bool) -> Tensor:
    return x.new_empty(x.shape) if complete else x.new_zeros(x.shape)


def _launch(kernel, tokens: Tensor, sequences: Tensor, arrays: tuple[Tensor, ...]) -> None:
    """Run `kernel` once for every tile and head over `arrays`, each [N, heads, head_width]."""
    tiles, size = tokens.shape
    _, heads, width = arrays[0].shape
    # The kernels step through tokens and heads as they lie, but want features side by side.
    arrays = [x if x.stride(2) == 1 else x.contiguous() for x in arrays]
    strides = [stride for x in arrays for stride in x.stride()[:2]]
    kernel[(tiles * heads,)](
        *arrays,
        tokens,
        sequences,
        *strides,
        heads,
        width**-0.5,
        width=width,
        WIDTH=max(SMALLEST, triton.next_power_of_2(width)),
        SIZE=size,
        UPCAST=INTERPRETED,
        num_warps=size // 16,
    )


@triton.jit
def _place(tokens, sequences, heads, width: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr):
    """Return head, tokens [SIZE], what exists [SIZE, WIDTH] and who attends to whom."""
    program = tl.program_id(0)  # heads of a tile in turn: they share rows of memory
    slots = (program // heads) * SIZE + tl.arange(0, SIZE)
    token = tl.load(tokens + slots)
    sequence = tl.load(sequences + slots)
    exists = (token >= 0)[:, None] & (tl.arange(0, WIDTH) < width)[None, :]
    # Padding attends to padding, all of it zero, so that no row of the softmax is empty.
    together = sequence[:, None] == sequence[None, :]
    return program % heads, token.to(tl.int64), exists, together


@triton.jit
def _at(array, token, head, token_stride, head_stride, WIDTH: tl.constexpr):
    rows = array + head * head_stride + token * token_stride
    return rows[:, None] + tl.arange(0, WIDTH)[None, :]


@triton.jit
def _read(array, token, exists, head, token_stride, head_stride, WIDTH, UPCAST: tl.constexpr):
    x = tl.load(_at(array, token, head, token_stride, head_stride, WIDTH), mask=exists, other=0.0)
    # The interpreter multiplies the bits of bfloat16 as if they were integers.
    return x.to(tl.float32) if UPCAST else x


@triton.jit
def _write(array, x, token, exists, head, token_stride, head_stride, WIDTH):
    at = _at(array, token, head, token_stride, head_stride, WIDTH)
    tl.store(at, x.to(array.dtype.element_ty), mask=exists)


@triton.jit
def _probabilities(q, k, together, scale):
    """Return the softmax of the scores, float32 [SIZE, SIZE]."""
    scores = tl.dot(q, tl.trans(k)) * (scale * LOG2_E)
    scores = tl.where(together, scores, float("-inf"))
    powers = tl.exp2(scores - tl.max(scores, 1)[:, None])
    return powers / tl.sum(powers, 1)[:, None]


@triton.jit
def _forward(
    q, k, v, out, tokens, sequences,
    q_token, q_head, k_token, k_head, v_token, v_head, out_token, out_head,
    heads, scale,
    width: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    head, token, exists, together = _place(tokens, sequences, heads, width, WIDTH, SIZE)
    queries = _read(q, token, exists, head, q_token, q_head, WIDTH, UPCAST)
    keys = _read(k, token, exists, head, k_token, k_head, WIDTH, UPCAST)
    values = _read(v, token, exists, head, v_token, v_head, WIDTH, UPCAST)
    p = _probabilities(queries, keys, together, scale)
    result = tl.dot(p.to(values.dtype), values)
    _write(out, result, token, exists, head, out_token, out_head, WIDTH)


@triton.jit
def _backward(
    q, k, v, grad, dq, dk, dv, tokens, sequences,
    q_token, q_head, k_token, k_head, v_token, v_head, grad_token, grad_head,
    dq_token, dq_head, dk_token, dk_head, dv_token, dv_head,
    heads, scale,
    width: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    head, token, exists, together = _place(tokens, sequences, heads, width, WIDTH, SIZE)
    queries = _read(q, token, exists, head, q_token, q_head, WIDTH, UPCAST)
    keys = _read(k, token, exists, head, k_token, k_head, WIDTH, UPCAST)
    values = _read(v, token, exists, head, v_token, v_head, WIDTH, UPCAST)
    grads = _read(grad, token, exists, head, grad_token, grad_head, WIDTH, UPCAST)
    p = _probabilities(queries, keys, together, scale)
    dvalues = tl.dot(tl.trans(p.to(grads.dtype)), grads)
    _write(dv, dvalues, token, exists, head, dv_token, dv_head, WIDTH)
    dp = tl.dot(grads, tl.trans(values))
    ds = p * (dp - tl.sum(p * dp, 1)[:, None]) * scale
    ds = ds.to(queries.dtype)
    dqueries = tl.dot(ds, keys)
    _write(dq, dqueries, token, exists, head, dq_token, dq_head, WIDTH)
    dkeys = tl.dot(tl.trans(ds), queries)
    _write(dk, dkeys, token, exists, head, dk_token, dk_head, WIDTH)


INTERPRETED = not isinstance(_forward, triton.JITFunction)
