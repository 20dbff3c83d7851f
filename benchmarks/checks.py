"""Whether attention by some backend gives the numbers that it should.

The measure is the error of eager attention in the same type: matmul, softmax, matmul over all
tokens at once. A backend may err twice as much.
"""

import torch

from virtues_core.attention import attend_packed, plan_layout

LENGTHS = {
    "one token": [1],
    "two": [2],
    "prime": [7, 13, 31],
    "a tile": [64],
    "tiles of ones": [1] * 130,
    "one over a tile": [64, 65],
    "63 markers": [63] * 3,
    "64 markers": [64] * 2,
    "127 markers": [127],
    "128 markers": [128, 128],
    "129 markers": [129],
    "200 markers": [200, 200],
    "long among short": [3, 200, 1, 128, 129, 5, 60, 64, 100],
    "41 markers": [41] * 7,
    "hundreds, ragged": torch.randint(
        1, 18, (200,), generator=torch.Generator().manual_seed(3)
    ).tolist(),
}
# Eager attention in float32 errs by 1e-7, where one more rounding already doubles it.
LEAST = {torch.float32: 2e-6, torch.float16: 0.0, torch.bfloat16: 0.0}


def make(lengths, device, dtype, heads=2, head_width=16, shuffled=True):
    """Return queries, keys and values, one tensor [N, 3, heads, head_width], and their layout."""
    generator = torch.Generator().manual_seed(sum(lengths))
    order = torch.randperm(sum(lengths), generator=generator) if shuffled else None
    layout = plan_layout(torch.tensor(lengths), order).to(device)
    qkv = torch.randn(sum(lengths), 3, heads, head_width, generator=generator)
    return qkv.to(device, dtype).requires_grad_(), layout


def eager(q, k, v, layout):
    """Matmul, softmax, matmul over all tokens at once, in the type of q, k and v."""
    lengths = layout.offsets.diff()
    sequence = torch.arange(len(lengths), device=q.device).repeat_interleave(lengths)
    if layout.order is not None:
        sequence = torch.empty_like(sequence).index_copy_(0, layout.order, sequence)
    q, k, v = (x.transpose(0, 1) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(sequence[:, None] != sequence, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1)


def results(attention, qkv, layout, dtype):
    """Return the tokens and the three gradients [N, heads, head_width] as float64."""
    leaf = qkv.detach().to(dtype).requires_grad_()
    out = attention(*leaf.unbind(1), layout)
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    out.backward(direction.to(qkv.device, qkv.dtype).to(dtype))
    return [x.detach().double() for x in (out, *leaf.grad.unbind(1))]


def by(backend):
    """Return attention by one backend."""
    return lambda q, k, v, layout: attend_packed(q, k, v, layout, backend)


def errors(backend, qkv, layout):
    """Return, for out, dq, dk and dv, (largest error, that of eager attention, half a unit).

    Against float64; an error is infinite where a number is not finite.
    """
    ours = results(by(backend), qkv, layout, qkv.dtype)
    same_type = results(eager, qkv, layout, qkv.dtype)
    exact = results(eager, qkv, layout, torch.float64)
    largest = max(c.abs().max().item() for c in exact)
    found = {}
    for name, a, b, c in zip(["out", "dq", "dk", "dv"], ours, same_type, exact, strict=True):
        # Queries and keys of single tokens have no gradient: two rounded numbers cancel there.
        rounding = torch.finfo(qkv.dtype).eps / 2 * (c.abs().max().item() or largest)
        error = (a - c).abs().nan_to_num(torch.inf).max().item()
        found[name] = (error, (b - c).abs().max().item(), max(rounding, LEAST[qkv.dtype]))
    return found


def excess(backend, device, dtype, names=tuple(LENGTHS), head_width=64):
    """Return (largest error over that of eager attention, where it is) for some of LENGTHS."""
    return max(
        (over(*three), f"{part} of {name}")
        for name in names
        for part, three in errors(
            backend, *make(LENGTHS[name], device, dtype, head_width=head_width)
        ).items()
    )


def over(error, beside, rounding):
    """Return an error over that of the plain version, or over a rounding where that is larger.

    2 is the most that it may be, in units of the plain version or of half a rounding.
    """
    return error / max(beside, rounding / 2)


def repeats_itself(backend, device, dtype, head_width=64):
    """Tell whether tokens and gradients are equal to the bit in two runs that have to be."""
    qkv, layout = make(LENGTHS["long among short"], device, dtype, head_width=head_width)
    return repeated(lambda: results(by(backend), qkv, layout, dtype))


def repeated(function):
    """Tell whether two calls return the same finite numbers under deterministic algorithms."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # which also fills new memory with NaN
    try:
        first, second = function(), function()
    finally:
        torch.use_deterministic_algorithms(before)
    return all(a.isfinite().all().item() and a.equal(b) for a, b in zip(first, second, strict=True))
