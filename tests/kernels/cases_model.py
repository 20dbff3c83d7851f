"""The whole model by the interpreted Triton kernel. Started by test_in_own_process.py."""

import pytest
import torch

from tests.unit.core import test_golden as published
from tests.unit.core.conftest import golden, ragged, small_model  # noqa: F401  fixtures
from virtues_core import loss


@pytest.mark.parametrize("kind", ["masked", "unmasked"])
def test_golden_outputs(golden, kind):  # noqa: F811
    published.test_outputs(golden, "triton", kind)


def test_golden_gradients(golden):  # noqa: F811
    published.test_gradients(golden, "triton")


def test_more_channels_than_a_tile(small_model):  # noqa: F811
    images = [torch.randn(140, 16, 8, generator=torch.Generator().manual_seed(0))]
    channels = [torch.arange(140) % 12]
    outs = [small_model(attention=name).encode(images, channels) for name in ("triton", "sdpa")]
    torch.testing.assert_close(*(out.all_tokens for out in outs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_hidden_channels_and_repeated_markers(small_model, ragged, dtype):  # noqa: F811
    results = []
    for backend in ("triton", "sdpa"):
        model = small_model(attention=backend)
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            value = loss(model(*ragged), ragged[0])
        value.backward()
        results.append([value, *(p.grad for p in model.parameters())])
    allowed = 1e-4 if dtype is None else 4 * torch.finfo(dtype).eps
    largest = max(gradient.norm() for gradient in results[1][1:])
    for ours, expected in zip(*results, strict=True):
        # A key bias has no gradient where nothing is rotated, only rounding.
        assert (ours - expected).norm() <= allowed * max(expected.norm(), 0.01 * largest)
