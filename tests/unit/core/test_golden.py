"""The model gives the numbers that the published code gives."""

import numpy as np
import pytest
import torch

from virtues_core import loss
from virtues_core.published import to_published

BACKENDS = ("sdpa", "reference")
NAMES = {"summary": "summary", "tokens": "encoded", "reconstruction": "decoded"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["masked", "unmasked"])
def test_outputs(golden, backend, kind):
    masks = golden.masks if kind == "masked" else None
    with torch.no_grad():
        out = golden.model(backend)(golden.images, golden.channels, masks)
    for ours, theirs in NAMES.items():
        for made, expected in zip(
            getattr(out, ours), golden.listed(f"{kind}_{theirs}"), strict=True
        ):
            torch.testing.assert_close(made, expected, atol=2e-5, rtol=0)
    assert abs(loss(out, golden.images).item() - golden.arrays[f"loss_{kind}"]) < 1e-6


def test_summary_after_each_block(golden):
    model = golden.model()
    second = slice(64, 128)  # the summary tokens of the second crop in the packed order
    seen = []
    for block in model.encoder.blocks:
        block.register_forward_hook(lambda block, x, y: seen.append(y[second].detach().clone()))
    model.encode(golden.images, golden.channels, golden.masks)
    expected = torch.from_numpy(golden.arrays["masked_summary_after_block"])
    torch.testing.assert_close(torch.stack(seen), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients(golden, backend):
    model = golden.model(backend)
    loss(model(golden.images, golden.channels, golden.masks), golden.images).backward()
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    ours = to_published(ours, model.config)

    stored = [name for name in golden.arrays if name.startswith("grad::")]
    assert len(stored) == 9
    for name in stored:
        expected = torch.from_numpy(golden.arrays[name])
        error = (ours[name.removeprefix("grad::")] - expected).norm() / expected.norm()
        assert error < 1e-4, name

    names = golden.arrays["grad_norm_names"].tolist()
    assert set(names) == set(ours)
    for name, expected in zip(names, golden.arrays["grad_norms"], strict=True):
        # Softmax ignores a constant added to all scores, which a key bias is without positions.
        if name.endswith("W_k.bias") and expected < 1e-9:
            assert ".1." in name or ".3." in name
            continue
        np.testing.assert_allclose(ours[name].norm(), expected, rtol=1e-4, err_msg=name)
