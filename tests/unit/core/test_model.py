"""What must hold for any weights: what influences what, shapes, types and sizes."""

import json

import pytest
import torch

from virtues_core import VirTues, VirTuesConfig, loss, pack, squared_error_sum
from virtues_core.attention import api
from virtues_core.published import to_published

OUTPUTS = ("summary", "tokens", "reconstruction")


def close(a, b, atol=1e-5):
    for name in OUTPUTS:
        for x, y in zip(getattr(a, name), getattr(b, name), strict=True):
            torch.testing.assert_close(x, y, atol=atol, rtol=0)


def test_shapes(small_model, ragged):
    out = small_model()(*ragged)
    assert [x.shape for x in out.summary] == [(4, 5, 64)] * 3
    assert [x.shape for x in out.tokens] == [(c, 4, 5, 64) for c in (4, 1, 6)]
    assert [x.shape for x in out.reconstruction] == [(c, 32, 40) for c in (4, 1, 6)]


def test_backends_agree(small_model, ragged):
    outs = [small_model(attention=name)(*ragged) for name in ("sdpa", "reference")]
    close(*outs)


def test_encode_is_the_same_without_the_decoder(small_model, ragged):
    model = small_model()
    encoded, whole = model.encode(*ragged), model(pack(*ragged))
    assert encoded.all_summary.equal(whole.all_summary)
    assert encoded.all_tokens.equal(whole.all_tokens)
    assert encoded.reconstruction is None


def test_hidden_pixels_have_no_influence(small_model, ragged):
    images, channels, masks = ragged
    model = small_model()
    hidden = [mask.repeat_interleave(8, 1).repeat_interleave(8, 2) for mask in masks]
    other = [torch.where(h, 100.0, x) for h, x in zip(hidden, images, strict=True)]
    before, after = model(images, channels, masks), model(other, channels, masks)
    assert before.all_reconstruction.equal(after.all_reconstruction)
    assert before.all_summary.equal(after.all_summary)
    # The visible pixels, in contrast, matter everywhere in their crop and nowhere else.
    other = [torch.where(hidden[0], images[0], 1.0), *images[1:]]
    after = model(other, channels, masks)
    differs = [
        (x != y).any() for x, y in zip(before.reconstruction, after.reconstruction, strict=True)
    ]
    assert differs == [True, False, False]


def test_hidden_token_depends_on_the_marker_alone(small_model, ragged):
    tokens = small_model()(*ragged).tokens
    first = tokens[0][ragged[2][0]]
    marker = ragged[1][0][ragged[2][0].nonzero()[:, 0]]
    for id in marker.unique():
        assert (first[marker == id] == first[marker == id][0]).all()
    assert not first[marker == 0][0].equal(first[marker == 3][0])


def test_channel_order_is_carried_through(small_model, ragged):
    model = small_model()
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    shuffled = [[*parts[:2], parts[2][order]] for parts in ragged]
    straight, permuted = model(*ragged), model(*shuffled)
    torch.testing.assert_close(permuted.summary[2], straight.summary[2], atol=1e-5, rtol=0)
    for name in ("tokens", "reconstruction"):
        expected = getattr(straight, name)[2][order]
        torch.testing.assert_close(getattr(permuted, name)[2], expected, atol=1e-5, rtol=0)


def test_crops_do_not_mix(small_model, ragged):
    model = small_model()
    together = model(*ragged)
    for i in range(3):
        alone = model(*([part[i]] for part in ragged))
        for name in OUTPUTS:
            torch.testing.assert_close(
                getattr(alone, name)[0], getattr(together, name)[i], atol=1e-5, rtol=0
            )


def test_more_channels_than_a_tile(small_model):
    """200 markers, which no tile holds, are encoded at once."""
    images = [torch.randn(200, 16, 8, generator=torch.Generator().manual_seed(0))]
    channels = [torch.arange(200) % 12]
    outs = [small_model(attention=name).encode(images, channels) for name in ("sdpa", "reference")]
    assert outs[0].all_tokens.shape == (200, 2, 1, 64)
    for name in ("all_summary", "all_tokens"):
        torch.testing.assert_close(*(getattr(o, name) for o in outs), atol=1e-5, rtol=0)


def test_no_mask_is_a_mask_that_hides_nothing(small_model, ragged):
    images, channels, masks = ragged
    model = small_model()
    nothing = [torch.zeros_like(mask) for mask in masks]
    none, some = model(images, channels), model(images, channels, [None, *nothing[1:]])
    assert none.all_reconstruction.equal(some.all_reconstruction)


def test_positions_are_seen(small_model, ragged):
    images, channels, _ = ragged
    model = small_model()
    straight = model(images, channels)
    moved = model([image.roll(8, dims=2) for image in images], channels)
    back = moved.summary[0].roll(-1, dims=1)
    assert (back - straight.summary[0]).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(small_model, ragged, dtype, monkeypatch):
    model = small_model()
    exact = model(*ragged)
    streams, entering, kernels = [], [], []
    select = api.select
    monkeypatch.setattr(api, "select", lambda name, q: kernels.append(q.dtype) or select(name, q))
    model.encoder.blocks[0].register_forward_pre_hook(lambda block, x: entering.append(x[0]))
    for block in [*model.encoder.blocks, *model.decoder.blocks]:
        block.register_forward_hook(lambda block, x, y: streams.append(y.dtype))
    with torch.autocast("cpu", dtype=dtype):
        out = model(*ragged)
        loss(out, ragged[0]).backward()
    assert set(streams) == {torch.float32} and set(kernels) == {dtype}
    assert not entering[0][60:].equal(entering[0][60:].to(dtype).float())  # nor rounded before
    assert out.all_reconstruction.dtype == torch.float32
    difference = (out.all_reconstruction - exact.all_reconstruction).norm()
    assert 0 < difference / exact.all_reconstruction.norm() < 4 * torch.finfo(dtype).eps
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_loss_of_parts_adds_up(small_model, ragged):
    model = small_model()
    loss(model(*ragged), ragged[0]).backward()
    whole = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    batches = [pack(*(part[i : i + 1] for part in ragged)) for i in range(3)]
    pixels = sum(batch.images.numel() for batch in batches)
    for batch in batches:
        total, count = squared_error_sum(model(batch), batch)
        assert count == batch.images.numel()
        (total / pixels).backward()
    for parameter, expected in zip(model.parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, expected, atol=1e-5, rtol=1e-4)


def test_loss_by_hand(small_model, ragged):
    out = small_model()(*ragged)
    errors = [(x - y) ** 2 for x, y in zip(out.reconstruction, ragged[0], strict=True)]
    expected = torch.cat([e.flatten() for e in errors]).double().mean()
    assert abs(loss(out, ragged[0]).item() - expected.item()) < 1e-6
    with pytest.raises(ValueError, match=r"shape \[10, 32, 40\] cannot be compared .* \[11, 32"):
        loss(out, [ragged[0][0], ragged[0][2]])


def test_paper_scale(shared):
    """On the meta device no number exists: a step that waited for one would fail."""
    inventory = json.loads(shared("golden/architecture_inventory.json").read_text())
    config = VirTuesConfig()
    with torch.device("meta"):
        model = VirTues(config, torch.empty(50, 640))
    assert sum(p.numel() for p in model.parameters()) == 42_453_056
    ours = {k: list(v.shape) for k, v in to_published(model.state_dict(), config).items()}
    theirs = {k["key"]: k["shape"] for k in inventory["keys"] if k["kind"] == "parameter"}
    assert ours == theirs

    images = [torch.zeros(c, 128, 128) for c in (3, 5)]
    masks = [torch.rand(c, 16, 16) < 0.8 for c in (3, 5)]
    batch = pack(images, [torch.arange(3), torch.arange(5)], masks).to("meta")
    out = model(batch)
    loss(out, batch).backward()
    assert [x.shape for x in out.reconstruction] == [(3, 128, 128), (5, 128, 128)]
    assert all(p.grad is not None for p in model.parameters())


def test_initialisation():
    torch.manual_seed(0)
    model = VirTues(VirTuesConfig(encoder="hv", decoder="f"), torch.randn(5, 640))
    shapes = {"patch_projection": (512, 64), "marker_projection": (512, 640)}
    for name, (rows, cols) in shapes.items():
        layer = getattr(model.encoder, name)
        assert abs(layer.weight.std() / (2 / (rows + cols)) ** 0.5 - 1) < 0.02
        assert not layer.bias.any()
    block = model.encoder.blocks[0]
    # Three layers of 512 x 512 each, not one of 1536 x 512.
    assert abs(block.attention.qkv.weight.std() / (2 / 1024) ** 0.5 - 1) < 0.01
    assert abs(model.encoder.masked_token.std() - 512**-0.5) < 0.2 * 512**-0.5
    assert (block.norm1.weight == 1).all() and not block.norm1.bias.any()


def test_errors(small_model, ragged):
    model = small_model(markers=11)
    with pytest.raises(ValueError, match="channel id 11 has no row among the 11 marker embeddings"):
        model(*ragged)
    with pytest.raises(ValueError, match="packed for patches of 4 px, the model has 8 px"):
        model(pack(ragged[0], ragged[1], patch=4))
    with pytest.raises(ValueError, match=r"shape \[markers, 640\], not \[3, 320\]"):
        VirTues(model.config, torch.zeros(3, 320))
