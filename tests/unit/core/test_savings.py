"""What is saved in the decoder and by groups of channels changes no number and costs less."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.unit.core import plain
from virtues_core import VirTues, VirTuesConfig, independent_mask, loss_backward, pack
from virtues_core.patches import unpatchify


def gradients(model):
    found = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    return found


def same_gradients(model, expected, atol):
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], atol=atol, rtol=atol, msg=name)


@pytest.fixture
def hidden(ragged):
    """The same crops with nothing visible at all."""
    images, channels, masks = ragged
    return images, channels, [torch.ones_like(mask) for mask in masks]


BATCHES = ["ragged", "hidden", "unmasked"]
DECODERS = ["f", "ff", "ffff"]


def batch_of(name, request, **settings):
    images, channels, masks = request.getfixturevalue("hidden" if name == "hidden" else "ragged")
    images = [image.double() for image in images]
    return pack(images, channels, None if name == "unmasked" else masks, **settings)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", BATCHES)
def test_outputs_are_the_plain_models(small_model, request, name, decoder):
    model, batch = small_model(decoder=decoder).double(), batch_of(name, request)
    out = model(batch)
    summary, own = plain.tokens(model, batch)
    images = unpatchify(plain.decode(model, batch, summary, own), batch.rows, batch.cols)
    torch.testing.assert_close(out.all_summary.flatten(1, 2), summary, atol=1e-12, rtol=0)
    torch.testing.assert_close(out.all_tokens.flatten(1, 2), own, atol=1e-12, rtol=0)
    torch.testing.assert_close(out.all_reconstruction, images, atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", [None, 1, 4, 100])
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", BATCHES)
def test_gradients_are_the_plain_models(small_model, request, name, decoder, size):
    model, batch = small_model(decoder=decoder).double(), batch_of(name, request)
    expected = plain.squared_error_sum(model, batch)
    (expected * 1e-3).backward()
    reference = gradients(model)
    error, pixels = loss_backward(model, batch, scale=1e-3, channels_at_a_time=size)
    torch.testing.assert_close(error, expected.detach(), atol=0, rtol=1e-13)
    assert pixels == 11 * 32 * 40
    same_gradients(model, reference, 1e-10)


@pytest.mark.parametrize("name", BATCHES)
def test_recomputed_blocks_change_nothing(small_model, request, name):
    model, batch = small_model().double(), batch_of(name, request)
    error, _ = loss_backward(model, batch, scale=1e-3, recompute=False)
    reference = gradients(model)
    again, _ = loss_backward(model, batch, scale=1e-3, recompute=True)
    assert again == error
    same_gradients(model, reference, 1e-12)


def test_recomputing_keeps_one_number_for_each_feature(small_model, ragged):
    model, batch = small_model(encoder="hv" * 4), pack(*ragged)
    with_blocks, without = (kept_bytes(model, batch, recompute) for recompute in (False, True))
    entering = 4 * len(batch.position) * model.config.width
    assert without < with_blocks / 4
    assert without < 8 * entering + 5 * entering  # of each block, then the norm and tokens


def kept_bytes(model, batch, recompute):
    """Return the bytes of tensors that the encoder keeps for its backward pass."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made = model.encode_packed(batch, recompute)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    assert made[1].requires_grad
    return sum(nbytes for address, nbytes in kept.items() if address not in weights)


def test_gradients_add_up(small_model, ragged):
    model, batch = small_model(), pack(*ragged)
    loss_backward(model, batch)
    once = gradients(model)
    for _ in range(2):
        loss_backward(model, batch, scale=torch.tensor(0.5))
    same_gradients(model, once, 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_groups_in_half_precision(small_model, ragged, dtype):
    model, batch = small_model(), pack(*ragged)
    error, pixels = loss_backward(model, batch, scale=1 / batch.images.numel())
    exact = gradients(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=dtype == torch.float16)
    scale = scaler.scale(torch.ones(())) / pixels
    with torch.autocast("cpu", dtype):
        half, _ = loss_backward(model, batch, scale, channels_at_a_time=3)
    optimizer = torch.optim.SGD(model.parameters())
    scaler.unscale_(optimizer)
    assert half.dtype == torch.float32 and abs(half / error - 1) < torch.finfo(dtype).eps
    for name, gradient in gradients(model).items():
        assert gradient.dtype == torch.float32
        # Softmax ignores a constant added to all scores: the gradient is rounding alone.
        if not name.endswith("qkv.bias"):
            difference = (gradient - exact[name]).norm() / exact[name].norm()
            assert difference < 8 * torch.finfo(dtype).eps, name


def test_group_size_must_be_positive(small_model, ragged):
    with pytest.raises(ValueError, match="channels_at_a_time must be at least 1, not -1"):
        loss_backward(small_model(), pack(*ragged), channels_at_a_time=-1)


def test_memory_of_a_channel_is_what_the_rule_says(small_model):
    """Count what the backward pass of the decoder keeps, as autograd reports it."""
    model = small_model(decoder="ffff", width=128, feedforward=256)
    batch = pack([torch.zeros(8, 64, 64)], [torch.arange(8)])
    batch, tokens, turns = model.encode_packed(batch)
    qkv, kept = model.decoder.project(tokens), {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made = model.decoder(tokens, qkv, batch.decoded, turns)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found = sum(nbytes for address, nbytes in kept.items() if address not in weights)
    assert made.requires_grad
    rule = 2**28 / model.decoder.channels_at_a_time(batch.positions)
    assert 0.75 * rule < found / 8 < 1.05 * rule


def paper_scale(channels=40):
    """The model and a masked crop of 128 px, without numbers: only shapes count."""
    config = VirTuesConfig(attention="sdpa")
    with torch.device("meta"):
        model = VirTues(config, torch.empty(50, 640))
    mask = independent_mask(channels, (16, 16), generator=torch.Generator().manual_seed(0))
    batch = pack([torch.zeros(channels, 128, 128)], [torch.arange(channels)], [mask])
    return model, batch


def count(function):
    # Other kernels of attention are not counted, or not on every device.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        function()
    return counter.get_total_flops()


def arithmetic(model, batch, padded):
    """Operations of the plain model: 2 for each multiplication and addition of its matrices."""
    width, inner = model.config.width, model.config.feedforward
    channels, positions, tokens = len(batch.channels), batch.positions, len(batch.position)
    layers = 4 * width**2 + 2 * width * inner
    total = channels * model.config.marker_width * width + len(batch.visible) * 64 * width
    for letter in model.config.encoder:
        layout = batch.channel_attention if letter == "h" else batch.marker_attention
        lengths = layout.offsets.diff().double()
        lengths = torch.full_like(lengths, layout.max_length) if padded else lengths
        total += tokens * layers + 2 * width * int((lengths**2).sum())
    seen = channels * 2 * positions
    total += len(model.config.decoder) * seen * (layers + 2 * width * 2 * positions)
    return 2 * (total + channels * positions * width * 64)


def test_operations():
    """A masked forward pass of 40 channels needs at most 0.89 of the plain model's operations."""
    model, batch = paper_scale()
    shapes = batch.to("meta")
    counted = count(lambda: plain.decode(model, shapes, *plain.tokens(model, shapes)))
    assert counted == arithmetic(model, batch, padded=True)
    # Padding is not counted as saved.
    ratio = count(lambda: model(shapes)) / arithmetic(model, batch, padded=False)
    assert 0.86 < ratio <= 0.89
    # However few channels are decoded together, no projection is computed twice.
    model.decoder.channels_at_a_time = lambda positions: 1
    assert count(lambda: model(shapes)) / arithmetic(model, batch, padded=False) == ratio
