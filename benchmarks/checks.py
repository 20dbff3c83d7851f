"""Whether kernels and the model in half precision give the numbers that they should.

The measure is the error of a plain version in the same type: attention as matmul, softmax, matmul
over all tokens, and the model as tests/unit/core/plain.py writes it. Ours may err twice as much.
"""

import torch

from tests.unit.core import plain
from virtues_core import VirTues, VirTuesConfig, loss_backward, pack
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
    "long among short": [3, 200, 1, 128, 129, 5],
    "41 markers": [41] * 7,
    "hundreds, ragged": torch.randint(
        1, 18, (200,), generator=torch.Generator().manual_seed(3)
    ).tolist(),
}
# Eager attention in float32 errs by 1e-7, where one more rounding already doubles it.
LEAST = {torch.float32: 2e-6, torch.float16: 0.0, torch.bfloat16: 0.0}
SMALL = {"width": 128, "feedforward": 256, "heads": 2, "encoder": "hvhv", "decoder": "ff"}


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


def model_and_batch(device, backend, seed=0):
    """Return a small model, heads of 64, and ragged crops with a hidden channel and position."""
    torch.manual_seed(seed)
    config = VirTuesConfig(**SMALL, attention=backend)
    model = VirTues(config, torch.randn(12, config.marker_width))
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(c, 32, 40, generator=generator) for c in (4, 1, 9)]
    channels = [torch.tensor([3, 0, 3, 7]), torch.tensor([11]), torch.arange(9)]
    masks = [torch.rand(c, 4, 5, generator=generator) < 0.7 for c in (4, 1, 9)]
    masks[0][2] = True
    masks[2][:, 1, 3] = True
    return model.to(device), pack(images, channels, masks).to(device)


def gradients(model, batch, dtype, backward):
    """Return reconstructions and all gradients in float64, computed in autocast to `dtype`."""
    model.zero_grad(set_to_none=True)
    device = batch.images.device.type
    scale = 256 / batch.images.numel()  # which keeps gradients in the range of float16
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        error = backward(model, batch, scale)
    found = {"loss": error.detach() * scale}
    found |= {name: p.grad for name, p in model.named_parameters()}
    return {name: value.double() for name, value in found.items()}


def ours(model, batch, scale):
    """Run our step; returns the sum of squared errors."""
    return loss_backward(model, batch, scale)[0]


def plainly(model, batch, scale):
    """Run the plain model's step; returns the sum of squared errors."""
    error = plain.squared_error_sum(model, batch)
    with torch.autocast(batch.images.device.type, enabled=False):
        (error * scale).backward()
    return error


def model_excess(backend, device, dtype, seeds, compiled=False):
    """Return (largest error of the loss and of a gradient over the plain model's, where it is).

    Errors are norms, root mean squares over `seeds`, relative to that of the gradient in float32,
    or to a hundredth of the largest gradient: that of a key's bias is rounding alone.
    """
    totals = {}
    for seed in seeds:
        model, batch = model_and_batch(device, backend, seed)
        exact = gradients(model, batch, torch.float32, plainly)
        beside = gradients(model, batch, dtype, plainly)
        if compiled:
            model.compile_blocks()
        found = gradients(model, batch, dtype, ours)
        least = 0.01 * max(g.norm() for name, g in exact.items() if name != "loss")
        for name, value in exact.items():
            size = max(value.norm(), least if name != "loss" else 0)
            errors = [((x[name] - value).norm() / size).item() for x in (found, beside)]
            rounding = torch.finfo(dtype).eps / 2
            so_far = totals.setdefault(name, [0.0, 0.0])
            so_far[0] += errors[0] ** 2 if errors[0] == errors[0] else torch.inf
            so_far[1] += max(errors[1], rounding) ** 2
    return max(((a / b) ** 0.5, name) for name, (a, b) in totals.items())


def model_repeats_itself(backend, device, dtype):
    """Tell whether loss and gradients of the model are equal to the bit in two runs."""
    model, batch = model_and_batch(device, backend)
    return repeated(lambda: list(gradients(model, batch, dtype, ours).values()))
