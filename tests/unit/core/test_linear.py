"""Linear layers by oneDNN are PyTorch's, in numbers, gradients and where they are not used."""

import pytest
import torch

from virtues_core import linear as module
from virtues_core.linear import Linear, linear


@pytest.fixture
def always(monkeypatch):
    """Take oneDNN for small matrices too and count its calls."""
    if module._product is None:
        pytest.skip("this build of torch has no oneDNN")
    calls, product = [], module._product
    monkeypatch.setattr(module, "LEAST", 1)
    monkeypatch.setattr(module, "_product", lambda *args: calls.append(1) or product(*args))
    return calls


def gradients(function, x, weight, bias, direction):
    leaves = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
    out = function(*leaves)
    return out.detach(), *torch.autograd.grad(out, leaves, direction)


@pytest.mark.parametrize("shape", [(1,), (37,), (3, 5)])
def test_numbers_and_gradients(always, shape):
    generator = torch.Generator().manual_seed(0)
    x, direction = (torch.randn(*shape, w, generator=generator) for w in (24, 40))
    weight, bias = (torch.randn(*s, generator=generator) for s in ((40, 24), (40,)))
    double = [t.double() for t in (x, weight, bias, direction)]
    exact = gradients(torch.nn.functional.linear, *double)
    usual = gradients(torch.nn.functional.linear, x, weight, bias, direction)
    ours = gradients(linear, x, weight, bias, direction)
    assert len(always) == 3  # forward, and the gradients of x and of the weight
    for a, b, c in zip(ours, usual, exact, strict=True):
        rounding = max((b - c).abs().max(), torch.finfo(torch.float32).eps * c.abs().max())
        assert a.shape == c.shape and (a - c).abs().max() <= 4 * rounding


def test_transposed_input_and_expanded_gradient(always):
    x = torch.randn(24, 7).t().requires_grad_()
    layer = Linear(24, 40)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(7, 24), atol=1e-5, rtol=0)
    assert always


def test_left_to_pytorch(always):
    layer, x = Linear(24, 40), torch.randn(7, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.double()(x.double()).dtype == torch.float64
    assert layer.float()(x[:0]).shape == (0, 40)
    assert layer.to("meta")(x.to("meta")).is_meta
    assert not always


def test_without_onednn(monkeypatch):
    monkeypatch.setattr(module, "_product", None)
    monkeypatch.setattr(module, "LEAST", 1)
    layer, x = Linear(24, 40), torch.randn(7, 24)
    assert layer(x).equal(torch.nn.functional.linear(x, layer.weight, layer.bias))


def test_small_products_are_left_to_pytorch(always, monkeypatch):
    monkeypatch.setattr(module, "LEAST", 7 * 24 * 40 + 1)
    Linear(24, 40)(torch.randn(7, 24))
    assert not always


def test_published_numbers(always, golden):
    with torch.no_grad():
        out = golden.model()(golden.images, golden.channels, golden.masks)
    assert len(always) > 20
    for made, expected in zip(out.reconstruction, golden.listed("masked_decoded"), strict=True):
        torch.testing.assert_close(made, expected, atol=2e-5, rtol=0)
