"""Blocks that sequences pass some at a time give the numbers of the plain model."""

import pytest
import torch

from tests.unit.core import plain
from virtues_core import inference, linear, pack
from virtues_core.attention import attend
from virtues_core.inference import Groups
from virtues_core.inspection import ChannelSummaries, encode_with_marker_attention
from virtues_core.rotary import rotary_grid, rotate, rotate_


@pytest.fixture
def grouped(monkeypatch):
    """Take groups for small crops too, many of them, and count the blocks that they pass."""
    if linear._product is None:
        pytest.skip("this build of torch has no oneDNN")
    passed, run = [], Groups.run
    monkeypatch.setattr(linear, "LEAST", 1)
    monkeypatch.setattr(inference, "TOKENS", 50)
    monkeypatch.setattr(Groups, "run", lambda *args: passed.append(args[1]) or run(*args))
    return passed


def crops(count=3, channels=4):
    """Return crops of as many channels each, of which nothing is hidden, packed."""
    generator = torch.Generator().manual_seed(3)
    images = [torch.randn(channels, 32, 40, generator=generator) for _ in range(count)]
    ids = [torch.randperm(12, generator=generator)[:channels] for _ in range(count)]
    return pack(images, ids)


@pytest.mark.parametrize("backend", ["sdpa", "reference"])
@pytest.mark.parametrize("encoder", ["hvhv", "vhh", "v", "h"])
@pytest.mark.parametrize("shape", [(3, 4), (1, 6)])
@torch.inference_mode()
def test_tokens_are_the_plain_models(grouped, small_model, encoder, backend, shape):
    model, batch = small_model(encoder=encoder, attention=backend), crops(*shape)
    summary, own = plain.tokens(model, batch)
    out = model.encode(batch)
    torch.testing.assert_close(out.all_summary.flatten(1, 2), summary, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.all_tokens.flatten(1, 2), own, atol=1e-5, rtol=0)
    assert len(grouped) == len(encoder)
    alone = model.encode_summaries(batch)
    torch.testing.assert_close(alone, out.all_summary, atol=1e-5, rtol=0)
    assert alone.shape == out.all_summary.shape and len(grouped) == 2 * len(encoder)


@torch.inference_mode()
def test_numbers_are_the_published_ones(grouped, golden):
    model = golden.model()
    for kind in ("summary", "encoded"):
        expected = golden.listed(f"unmasked_{kind}")
        for image, ids, one in zip(golden.images, golden.channels, expected, strict=True):
            out = model.encode([image], [ids])
            made = out.all_summary[0] if kind == "summary" else out.all_tokens
            torch.testing.assert_close(made, one, atol=2e-5, rtol=0)
    assert len(grouped) == 2 * 3 * 4


@torch.inference_mode()
def test_crops_that_are_not_dense_go_the_usual_way(grouped, small_model, ragged):
    model, (images, channels, _) = small_model(), ragged
    half = torch.zeros(4, 4, 5, dtype=torch.bool)
    half[:, :2] = True  # as many tokens in every channel, but not all places
    for batch in (pack(*ragged), pack(images, channels), pack(images[:1], channels[:1], [half])):
        alone, summary = model.encode_summaries(batch), plain.tokens(model, batch)[0]
        torch.testing.assert_close(alone.flatten(1, 2), summary, atol=1e-5, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        model.encode_summaries(crops())
    model.double().encode_summaries(crops())
    assert not grouped


def test_gradients_go_the_usual_way(grouped, small_model):
    model = small_model()
    model.encode_summaries(crops()).square().sum().backward()
    assert model.encoder.blocks[0].attention.qkv.weight.grad.any() and not grouped


def test_small_crops_are_left_to_pytorch(grouped, small_model, monkeypatch):
    monkeypatch.setattr(linear, "LEAST", 3 * 20 * 5 * 64 * 192 + 1)
    with torch.no_grad():
        small_model().encode(crops())
    assert not grouped


def test_without_onednn(grouped, small_model, monkeypatch):
    monkeypatch.setattr(linear, "_product", None)
    with torch.no_grad():
        small_model().encode(crops())
    assert not grouped


def test_a_weight_that_changes_is_noticed(grouped, small_model):
    model, batch = small_model(), crops()
    with torch.no_grad():
        before = model.encode_summaries(batch)
        for block in model.encoder.blocks:
            block.feedforward[2].weight.mul_(2)
        summary, _ = plain.tokens(model, batch)
        after = model.encode_summaries(batch)
    assert (before - after).abs().max() > 0.1
    torch.testing.assert_close(after.flatten(1, 2), summary, atol=1e-5, rtol=0)


def test_a_turn_in_place_is_a_turn():
    x, turns = torch.randn(6, 20, 2, 16), rotary_grid(4, 5, 16)
    expected = torch.stack([rotate(one, turns) for one in x])
    rotate_(x, turns)
    torch.testing.assert_close(x, expected)


@torch.inference_mode()
def test_what_is_looked_at_is_the_same(grouped, small_model, monkeypatch):
    model, batch = small_model(), crops()
    images = batch.images.view(3, 4, 32, 40)
    ids, summaries = batch.channels.view(3, 4), ChannelSummaries(model)
    looks = encode_with_marker_attention(model, batch)[1], summaries(images, ids)
    assert len(grouped) == 2 * 4
    monkeypatch.setattr(linear, "LEAST", 2**60)
    expected = encode_with_marker_attention(model, batch)[1], summaries(images, ids)
    for made, usual in zip(looks, expected, strict=True):
        torch.testing.assert_close(made, usual, atol=1e-5, rtol=0)
    assert len(grouped) == 2 * 4


@torch.inference_mode()
def test_blocks_leave_what_they_were_given(grouped, small_model):
    x = torch.randn(2, 4, 21, 64)
    before, turns = x.clone(), rotary_grid(3, 7, 16)
    made, _ = ChannelSummaries(small_model()).run_blocks(x, turns)
    assert x.equal(before) and made.shape == x.shape and not made.equal(x) and grouped


@pytest.mark.parametrize("encoder", ["hv", "vh"])
@torch.inference_mode()
def test_the_last_block_computes_only_what_summaries_need(
    grouped, small_model, monkeypatch, encoder
):
    seen = []

    def counted(q, k, v, backend):
        seen.append([len(x.flatten(0, 1)) for x in (q, k)])
        return attend(q, k, v, backend)

    monkeypatch.setattr(inference, "attend", counted)
    tokens, summaries = 3 * 20 * 5, 3 * 20
    small_model(encoder=encoder).encode_summaries(crops())
    # Over channels they look at all tokens, over positions at each other.
    asked, answered = torch.tensor(seen).sum(0).tolist()
    assert asked == tokens + summaries
    assert answered == tokens + {"hv": tokens, "vh": summaries}[encoder]
