"""Packed lengths of few sizes: a compiled model meets nothing new from step to step."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from virtues_core import independent_mask, loss_backward, pack
from virtues_core.packing import round_length

TINY = dict(width=16, feedforward=32, heads=2)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def ragged_batch(generator, **settings):
    """One to three crops of one to ten channels, as panels and dropped channels make them."""
    counts = torch.randint(1, 11, (int(torch.randint(1, 4, (), generator=generator)),))
    images = [torch.randn(c, 32, 32, generator=generator) for c in counts.tolist()]
    channels = [torch.arange(len(image)) for image in images]
    masks = [independent_mask(len(image), (4, 4), generator=generator) for image in images]
    return pack(images, channels, masks, round_up=True)


def test_lengths():
    lengths = torch.arange(1, 20_000)
    rounded = torch.tensor([round_length(int(n)) for n in lengths])
    assert (rounded >= lengths).all() and (rounded <= lengths * 17 / 16).all()
    assert all(round_length(int(n)) == n for n in rounded.unique())
    # A step of the paper's, with 25 % of the channels dropped or none.
    assert rounded[1_750:2_350].unique().numel() <= 8


@pytest.mark.parametrize("masked", [True, False])
def test_empty_tokens_change_nothing(small_model, ragged, masked):
    images, channels, masks = ragged
    masks[1][0, 0, :3] = ~masks[1][0, 0, :3]  # a number of tokens that is not round already
    crops = [image.double() for image in images], channels, masks if masked else None
    model, exact, rounded = small_model().double(), pack(*crops), pack(*crops, round_up=True)
    assert rounded.empty > 0 and exact.empty == 0
    assert len(rounded.position) == round_length(len(exact.position))
    for layout in (rounded.channel_attention, rounded.marker_attention):
        assert (layout.offsets.diff()[-rounded.empty :] == 1).all()

    a, b = model(exact), model(rounded)
    for name in ("all_summary", "all_tokens", "all_reconstruction"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=1e-12, rtol=0)
    results = []
    for batch in (exact, rounded):
        results.append(loss_backward(model, batch, scale=1e-3))
        results[-1] += tuple(p.grad for p in model.parameters())
        model.zero_grad()
    assert results[0][1] == results[1][1] == 11 * 32 * 40
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-10, rtol=1e-12)


def test_empty_tokens_are_zero_and_stay_finite(small_model, ragged):
    ragged[2][1][0, 0, :3] = ~ragged[2][1][0, 0, :3]
    model, batch = small_model(), pack(*ragged, round_up=True)
    assert batch.empty > 0
    seen = []
    model.encoder.blocks[0].register_forward_pre_hook(lambda block, x: seen.append(x[0]))
    tokens = model.encode_packed(batch)[1]
    assert not seen[0][-batch.empty :].any() and seen[0][: -batch.empty].any(1).all()
    assert tokens.isfinite().all()


def test_compiled_is_the_same(small_model, ragged):
    model, compiled = small_model().double(), small_model().double()
    compiled.compile_blocks(backend="aot_eager")
    batch = pack([image.double() for image in ragged[0]], *ragged[1:], round_up=True)
    for m in (model, compiled):
        loss_backward(m, batch, scale=1e-3)
    for ours, plain in zip(compiled.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, plain.grad, atol=1e-12, rtol=1e-10)
    assert compiled.state_dict().keys() == model.state_dict().keys()


def test_few_compilations(small_model):
    """200 steps, none of which has the shapes of another: what is compiled is soon complete."""
    model = small_model(**TINY)
    counter = CompileCounterWithBackend("aot_eager")
    model.compile_blocks(backend=counter)
    generator, after = torch.Generator().manual_seed(0), []
    for _ in range(200):
        loss_backward(model, ragged_batch(generator), channels_at_a_time=4)
        after.append(counter.frame_count)
    # Five kinds of calls, each compiled for the first size, then for any, and once for a lone row.
    assert after[-1] <= 12
    assert after[-1] == after[50]
