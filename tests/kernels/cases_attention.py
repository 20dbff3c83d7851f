"""Packed attention by Triton and FlashAttention against float64 and the float32 reference.

Started by test_in_own_process.py.
"""

import pytest
import torch

from virtues_core.attention import attend, attend_packed, plan_layout, triton_short

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
    "long among short": [3, 200, 1, 128, 129, 5],
    "41 markers": [41] * 7,
    "hundreds, ragged": torch.randint(1, 18, (200,), generator=torch.manual_seed(3)).tolist(),
}
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# Eager attention in float32 errs by 1e-7, where one more rounding already doubles it.
LEAST = {torch.float32: 2e-6, torch.float16: 0.0, torch.bfloat16: 0.0}


def make(lengths, device, dtype, heads=2, head_width=16, shuffled=True):
    """Queries, keys and values as parts of one tensor [N, 3, heads, head_width], and a layout."""
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
    """The tokens and the gradient [N, 3, heads, head_width] as float64."""
    leaf = qkv.detach().to(dtype).requires_grad_()
    out = attention(*leaf.unbind(1), layout)
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    out.backward(direction.to(qkv.device, qkv.dtype).to(dtype))
    return [x.detach().double() for x in (out, *leaf.grad.unbind(1))]


def by(backend):
    return lambda q, k, v, layout: attend_packed(q, k, v, layout, backend)


def check(backend, qkv, layout):
    """Err at most twice as much as eager attention in the same type, or by one rounding."""
    ours = results(by(backend), qkv, layout, qkv.dtype)
    plain = results(eager, qkv, layout, qkv.dtype)
    exact = results(eager, qkv, layout, torch.float64)
    reference = results(by("reference"), qkv, layout, torch.float32)
    unit = torch.finfo(qkv.dtype).eps
    for name, *found in zip(["out", "dq", "dk", "dv"], ours, plain, exact, reference, strict=True):
        a, b, c, d = found
        rounding = max(unit / 2 * c.abs().max().item(), LEAST[qkv.dtype])
        assert (a - c).abs().max() <= max(2 * (b - c).abs().max(), rounding), name
        torch.testing.assert_close(a, d, atol=4 * rounding, rtol=4 * unit, msg=name)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LENGTHS)
def test_triton(name, dtype, device):
    check("triton", *make(LENGTHS[name], device, dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", LENGTHS)
def test_flash(name, dtype, device):
    if device == "cpu":
        pytest.skip("FlashAttention needs a GPU")
    check("flash", *make(LENGTHS[name], device, dtype))


@pytest.mark.parametrize("head_width", [4, 12, 64])
@pytest.mark.parametrize("shuffled", [False, True])
def test_widths_and_orders(head_width, shuffled, device):
    made = make([5, 61, 2, 1], device, torch.float32, 3, head_width, shuffled)
    check("triton", *made)


@pytest.mark.parametrize("lengths", [[5, 40, 3], [5, 140, 3]], ids=["short", "one long"])
def test_every_number_is_written_and_repeats(lengths, device):
    qkv, layout = make(lengths, device, torch.float32)
    torch.use_deterministic_algorithms(True)  # which also fills new memory with NaN
    try:
        first, second = (results(by("triton"), qkv, layout, qkv.dtype) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b in zip(first, second, strict=True):
        assert a.isfinite().all() and a.equal(b)


def test_gradient_of_any_strides(device):
    qkv, layout = make([5, 40, 3], device, torch.float32)
    out = attend_packed(*qkv.unbind(1), layout, "triton")
    direction = torch.randn(16, 2, 48, device=device).permute(2, 1, 0)
    assert direction.shape == out.shape and direction.stride(2) != 1
    (gradient,) = torch.autograd.grad(out, qkv, direction, retain_graph=True)
    (expected,) = torch.autograd.grad(out, qkv, direction.contiguous())
    assert gradient.equal(expected)
    out = attend_packed(*qkv.unbind(1), layout, "triton")
    (of_sum,) = torch.autograd.grad(out.sum(), qkv, retain_graph=True)  # has no strides at all
    (expected,) = torch.autograd.grad(out, qkv, torch.ones_like(out))
    assert of_sum.equal(expected)


def test_custom_operators_are_well_formed(device):
    qkv, layout = make([5, 40, 3], device, torch.float32)
    tiles = layout.tiles
    arguments = (*qkv.unbind(1), tiles.tokens, tiles.sequences, True)
    # Traced backward passes are compared in test_compiled.
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(triton_short.attend_tiles, arguments, test_utils=tests)
    arguments = [x.detach() if isinstance(x, torch.Tensor) else x for x in arguments]
    grad = torch.randn_like(arguments[0])
    torch.library.opcheck(triton_short.attend_tiles_backward, (grad, *arguments), test_utils=tests)


def test_compiled(device):
    def attention(qkv, layout):
        return attend_packed(*(2 * qkv).unbind(1), layout, "triton").square().sum()

    compiled = torch.compile(attention, backend="aot_eager", fullgraph=True)
    qkv, layout = make([5, 40, 3], device, torch.float32)
    gradients = [torch.autograd.grad(f(qkv, layout), qkv)[0] for f in (attention, compiled)]
    torch.testing.assert_close(*gradients)


def test_equal_lengths(device):
    q, k, v = torch.randn(3, 5, 12, 2, 16, device=device)
    expected = attend(q, k, v, "reference")
    torch.testing.assert_close(attend(q, k, v, "triton"), expected, atol=1e-5, rtol=0)
