"""Whether the model in half precision gives the numbers that it should.

The measure is the error of the plain model of the tests (tests/unit/core/plain.py) in the same
type. Ours may err twice as much.
"""

import torch

from benchmarks.checks import over, repeated
from tests.unit.core import plain
from virtues_core import VirTues, VirTuesConfig, loss_backward, pack
from virtues_core.patches import unpatchify
from virtues_core.published import to_published

SCALE = 256  # of the loss, which keeps gradients in the range of float16
SMALL = {"width": 128, "feedforward": 256, "heads": 2, "encoder": "hvhv", "decoder": "ff"}


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
    scale = SCALE / batch.images.numel()
    with _half(batch, dtype):
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


def golden_excess(golden, backend, device, dtype):
    """Return (largest error over the plain model's, where it is) against the published numbers.

    `golden`: as tests/unit/core/conftest.py reads it. Errors are norms, of outputs and gradients.
    """
    model = golden.model(backend).to(device)
    batch = pack(golden.images, golden.channels, golden.masks).to(device)
    names = {"summary": "summary", "tokens": "encoded", "reconstruction": "decoded"}
    expected = {name: _row(golden.listed(f"masked_{theirs}")) for name, theirs in names.items()}
    gradient = {name: a for name, a in golden.arrays.items() if name.startswith("grad::")}
    expected |= {name: torch.from_numpy(array).double() for name, array in gradient.items()}
    found, beside = (
        outputs(model, batch, dtype) | _published(model, gradients(model, batch, dtype, ours)),
        plain_outputs(model, batch, dtype)
        | _published(model, gradients(model, batch, dtype, plainly)),
    )
    rounding = torch.finfo(dtype).eps / 2
    return max(
        (
            over(
                (found[name] - value).norm().nan_to_num(torch.inf).item(),
                (beside[name] - value).norm().item(),
                rounding * value.norm().item(),
            ),
            name,
        )
        for name, value in expected.items()
    )


def outputs(model, batch, dtype):
    """Return what the model gives for a batch, each kind in one row, in float64 on the CPU."""
    with torch.no_grad(), _half(batch, dtype):
        out = model(batch)
    kinds = ("summary", "tokens", "reconstruction")
    return {kind: _row(getattr(out, f"all_{kind}")) for kind in kinds}


def plain_outputs(model, batch, dtype):
    """Return the same of the plain model."""
    with torch.no_grad(), _half(batch, dtype):
        summary, own = plain.tokens(model, batch)
        patches = plain.decode(model, batch, summary, own)
    images = unpatchify(patches, batch.rows, batch.cols)
    return {"summary": _row(summary), "tokens": _row(own), "reconstruction": _row(images)}


def _half(batch, dtype):
    return torch.autocast(batch.images.device.type, dtype, enabled=dtype != torch.float32)


def _row(tensors):
    return torch.cat([x.double().cpu().flatten() for x in tensors])


def _published(model, found):
    """Return gradients of the mean loss by the names of the published code."""
    found = {name: value.cpu() / SCALE for name, value in found.items() if name != "loss"}
    return {f"grad::{name}": value for name, value in to_published(found, model.config).items()}


def model_repeats_itself(backend, device, dtype):
    """Tell whether loss and gradients of the model are equal to the bit in two runs."""
    model, batch = model_and_batch(device, backend)
    return repeated(lambda: list(gradients(model, batch, dtype, ours).values()))
