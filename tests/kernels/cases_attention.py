"""Packed attention by Triton and FlashAttention against float64 and the float32 reference.

Started by test_in_own_process.py.
"""

import pytest
import torch

from benchmarks.checks import LEAST, LENGTHS, by, errors, make, repeated, results
from virtues_core.attention import attend, attend_packed, triton_short

DTYPES = [torch.float16, torch.bfloat16]
# The interpreter shows the arithmetic without rounding; compiled, the kernel takes halves alone.
EXACT = torch.float16 if torch.cuda.is_available() else torch.float32


def check(backend, qkv, layout):
    """Err at most twice as much as eager attention in the same type, or by one rounding."""
    for name, (error, beside, rounding) in errors(backend, qkv, layout).items():
        assert error <= max(2 * beside, rounding), name
    found = (
        results(by(b), qkv, layout, t)
        for b, t in ((backend, qkv.dtype), ("reference", torch.float32))
    )
    unit = torch.finfo(qkv.dtype).eps
    for name, ours, reference in zip(["out", "dq", "dk", "dv"], *found, strict=True):
        rounding = max(unit / 2 * reference.abs().max().item(), LEAST[qkv.dtype])
        torch.testing.assert_close(ours, reference, atol=4 * rounding, rtol=4 * unit, msg=name)


@pytest.mark.parametrize("dtype", sorted({EXACT, *DTYPES}, key=str), ids=str)
@pytest.mark.parametrize("name", LENGTHS)
def test_triton(name, dtype, device):
    check("triton", *make(LENGTHS[name], device, dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LENGTHS)
def test_flash(name, dtype, device):
    if device == "cpu":
        pytest.skip("FlashAttention needs a GPU")
    check("flash", *make(LENGTHS[name], device, dtype))


@pytest.mark.parametrize("head_width", [4, 12, 64])
@pytest.mark.parametrize("shuffled", [False, True])
def test_widths_and_orders(head_width, shuffled, device):
    made = make([5, 61, 2, 1], device, EXACT, 3, head_width, shuffled)
    check("triton", *made)


@pytest.mark.parametrize("lengths", [[5, 40, 3], [5, 140, 3, 100, 40]], ids=["short", "one long"])
def test_every_number_is_written_and_repeats(lengths, device):
    qkv, layout = make(lengths, device, EXACT)
    assert repeated(lambda: results(by("triton"), qkv, layout, qkv.dtype))


def test_gradient_of_any_strides(device):
    qkv, layout = make([5, 40, 3], device, EXACT)
    out = attend_packed(*qkv.unbind(1), layout, "triton")
    direction = torch.randn(16, 2, 48, device=device, dtype=EXACT).permute(2, 1, 0)
    assert direction.shape == out.shape and direction.stride(2) != 1
    (gradient,) = torch.autograd.grad(out, qkv, direction, retain_graph=True)
    (expected,) = torch.autograd.grad(out, qkv, direction.contiguous())
    assert gradient.equal(expected)
    out = attend_packed(*qkv.unbind(1), layout, "triton")
    (of_sum,) = torch.autograd.grad(out.sum(), qkv, retain_graph=True)  # has no strides at all
    (expected,) = torch.autograd.grad(out, qkv, torch.ones_like(out))
    assert of_sum.equal(expected)


def test_custom_operators_are_well_formed(device):
    qkv, layout = make([5, 40, 3], device, EXACT)
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
    qkv, layout = make([5, 40, 3], device, EXACT)
    gradients = [torch.autograd.grad(f(qkv, layout), qkv)[0] for f in (attention, compiled)]
    torch.testing.assert_close(*gradients)


def test_equal_lengths(device):
    q, k, v = torch.randn(3, 5, 12, 2, 16, device=device, dtype=EXACT)
    expected = attend(q, k, v, "reference")
    close = 20 * torch.finfo(EXACT).eps
    torch.testing.assert_close(attend(q, k, v, "triton"), expected, atol=close, rtol=0)
