"""The backends agree with each other and with attention written as one masked product."""

import logging

import pytest
import torch

from virtues_core.attention import api, attend, attend_packed, plan_layout

LENGTHS = {
    "one token": [1],
    "ones": [1] * 9,
    "equal": [8] * 6,
    "padding behind the last": [4, 1],
    "short": [3, 1, 2, 7, 11, 5, 1, 13],
    "mixed": [64, 64, 1, 2, 17, 31, 33, 64, 127, 130, 5],
}


def make(lengths, shuffled, heads=3, head_width=8, dtype=torch.float32):
    generator = torch.Generator().manual_seed(len(lengths))
    tokens = sum(lengths)
    order = torch.randperm(tokens, generator=generator) if shuffled else None
    layout = plan_layout(torch.tensor(lengths), order)
    qkv = torch.randn(3, tokens, heads, head_width, generator=generator).to(dtype)
    return qkv, layout


def in_one_product(qkv, layout):
    """Attention over all tokens at once, in float64, with -inf between sequences."""
    lengths = layout.offsets.diff()
    sequence = torch.arange(len(lengths)).repeat_interleave(lengths)
    if layout.order is not None:
        sequence = torch.empty_like(sequence).index_copy_(0, layout.order, sequence)
    q, k, v = qkv.double().transpose(1, 2)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(sequence[:, None] != sequence, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1)


@pytest.mark.parametrize("backend", api.BACKENDS)
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("name", LENGTHS)
def test_packed(backend, shuffled, name):
    qkv, layout = make(LENGTHS[name], shuffled)
    ours, plain = qkv.clone().requires_grad_(), qkv.clone().requires_grad_()
    out, expected = attend_packed(*ours, layout, backend), in_one_product(plain, layout)
    torch.testing.assert_close(out.double(), expected, atol=2e-6, rtol=0)

    direction = torch.randn_like(out)
    out.backward(direction)
    expected.backward(direction.double())
    torch.testing.assert_close(ours.grad, plain.grad, atol=5e-6, rtol=0)


@pytest.mark.parametrize("backend", api.BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_packed_in_half_precision(backend, dtype):
    qkv, layout = make(LENGTHS["mixed"], shuffled=True, dtype=dtype)
    out, exact = attend_packed(*qkv, layout, backend), in_one_product(qkv, layout)
    assert out.dtype == dtype
    # Rounding the exact result costs up to half a unit; allow for two units.
    assert (out.double() - exact).abs().max() < 2 * torch.finfo(dtype).eps * exact.abs().max()


@pytest.mark.parametrize("backend", api.BACKENDS)
def test_fewer_queries_than_keys(backend):
    q, k, v = torch.randn(3, 5, 12, 2, 8, generator=torch.Generator().manual_seed(0))
    everything = attend(q, k, v, backend)
    torch.testing.assert_close(attend(q[:, -4:], k, v, backend), everything[:, -4:])
    torch.testing.assert_close(everything, attend(q, k, v, "reference"), atol=2e-6, rtol=0)


def test_sequences_share_buckets_of_similar_length():
    lengths = torch.randint(1, 300, (500,), generator=torch.Generator().manual_seed(0))
    layout = plan_layout(lengths)
    assert layout.padded < 1.2 * lengths.sum()
    assert len(layout.buckets) < 30
    assert layout.slots.unique().numel() == lengths.sum()


def test_equal_sequences_are_not_copied():
    layout = plan_layout(torch.tensor([7, 7, 7]))
    assert layout.slots is None and layout.buckets[0].real is None


def test_choice_is_logged_once_with_its_reason(caplog):
    api._select.cache_clear()
    x = torch.zeros(1, 2, 1, 4)
    with caplog.at_level(logging.INFO):
        attend(x, x, x, "reference")
        attend(x, x, x, "reference")
    assert caplog.messages == [
        "attention on cpu in torch.float32: reference (the configuration asks for reference)"
    ]


def test_variable_goes_first(monkeypatch):
    x = torch.zeros(1)
    monkeypatch.setenv("VIRTUES_ATTENTION", "reference")
    assert api.select("sdpa", x).__name__ == "virtues_core.attention.reference"
    monkeypatch.delenv("VIRTUES_ATTENTION")
    assert api.select("auto", x).__name__ == "virtues_core.attention.sdpa"


def test_unknown_backend_names_the_allowed(monkeypatch):
    monkeypatch.setenv("VIRTUES_ATTENTION", "flsh")
    with pytest.raises(
        ValueError,
        match="VIRTUES_ATTENTION asks for .* 'flsh'; allowed are auto, sdpa, reference",
    ):
        api.select("auto", torch.zeros(1))


def test_missing_backend(monkeypatch, caplog):
    lacking = api.Backend("nowhere", lambda device_type, dtype: "the package nowhere is missing")
    monkeypatch.setattr(api, "BACKENDS", {"nowhere": lacking} | api.BACKENDS)
    api._select.cache_clear()
    with pytest.raises(ValueError, match="cannot run on cpu .*: the package nowhere is missing;"):
        api.select("nowhere", torch.zeros(1))
    with caplog.at_level(logging.INFO):
        assert api.select("auto", torch.zeros(1)).__name__.endswith("sdpa")
    assert "nowhere passed over: the package nowhere is missing" in caplog.text
    api._select.cache_clear()
