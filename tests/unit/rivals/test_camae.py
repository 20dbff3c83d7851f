"""CA-MAE: sizes in closed form, its losses by hand, what it may and may not depend on."""

import math

import numpy as np
import pytest
import torch

from workflow_scripts.common.rivals.camae import (
    Camae,
    CamaeConfig,
    encoder_flops,
    parameter_count,
    patches,
    token_errors,
)
from workflow_scripts.common.rivals.layers import sine_positions
from workflow_scripts.common.rivals.token_embedders import CamaeEmbedder

TINY = CamaeConfig(
    width=24, depth=2, heads=3, drop_path=0.0, decoder_width=32, decoder_depth=1, decoder_heads=4
)
SETTINGS = {"crop": 32, "stride": 16, "batch": 2, "rival": {}}


@pytest.mark.parametrize("config", [TINY, CamaeConfig()], ids=["tiny", "paper"])
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_parameters_in_closed_form_are_those_of_the_model(config, channels):
    with torch.device("meta"):
        model = Camae(config, channels)
    counted = sum(p.numel() for p in model.parameters())
    assert counted == sum(parameter_count(config, channels).values())


def test_forty_markers_take_about_25_times_the_parameters_of_virtues():
    totals = {m: sum(parameter_count(CamaeConfig(), m).values()) for m in (10, 20, 40)}
    assert 24 <= totals[40] / 42.453e6 <= 26
    # Linear in the markers, so that 10 more cost the same everywhere.
    assert totals[40] - totals[20] == 2 * (totals[20] - totals[10])
    larger = CamaeConfig(width=768, heads=12)
    assert 25 <= sum(parameter_count(larger, 40).values()) / 42.453e6 <= 27
    assert parameter_count(CamaeConfig(), 40)["encoder"] == pytest.approx(21.3e6, rel=0.01)


def test_the_cost_of_a_crop_grows_towards_the_square_of_the_markers():
    ten, twenty, forty = (encoder_flops(CamaeConfig(), m, 128) for m in (10, 20, 40))
    assert 2 < twenty / ten < forty / twenty < 4
    small = CamaeConfig(width=24, depth=1, heads=3)
    tokens = 2 * 16 + 1
    by_hand = 2 * 12 * 24**2 * tokens + 4 * 24 * tokens**2 + 2 * 64 * 24 * 32
    assert encoder_flops(small, 2, 32) == by_hand


def test_positions_are_sines_and_cosines_of_row_and_column():
    codes = sine_positions(2, 3, 8)
    row, col = 1, 2
    wanted = []
    for place in (row, col):
        angles = [place, place / 100]
        wanted += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    torch.testing.assert_close(codes[row * 3 + col], torch.tensor(wanted))


def one_patch(values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 64)


def test_amplitudes_of_patches_by_hand():
    zero, ones = one_patch([0.0] * 64), one_patch([1.0] * 64)
    single = one_patch([1.0] + [0.0] * 63)
    assert token_errors(zero, ones, 1.0).item() == pytest.approx(1)
    assert token_errors(zero, single, 1.0).item() == pytest.approx(1)
    noise = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    shifted = noise.roll((3, 2), dims=(2, 3))
    error = token_errors(noise.flatten(2), shifted.flatten(2), 1.0)
    assert error.item() == pytest.approx(0, abs=1e-5)
    assert token_errors(zero, single, 0.0).item() == pytest.approx(1 / 64)
    assert token_errors(zero, single, 0.01).item() == pytest.approx(0.99 / 64 + 0.01)


def test_patches_are_cut_channel_by_channel():
    image = torch.arange(2 * 16 * 16.0).view(1, 2, 16, 16)
    cut = patches(image, 8)
    assert cut.shape == (1, 8, 64)
    assert torch.equal(cut[0, 1].view(8, 8), image[0, 0, :8, 8:])
    assert torch.equal(cut[0, 6].view(8, 8), image[0, 1, 8:, :8])


def tiny(channels=3):
    torch.manual_seed(0)
    return Camae(TINY, channels).eval()


def crops(n=2, channels=3, seed=0):
    return torch.randn(n, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_the_encoder_knows_no_marker_and_takes_any_panel():
    model = tiny()
    images = crops()
    with torch.no_grad():
        plain = model.features(images)
        turned = model.features(images[:, [2, 0, 1]])
        assert plain.shape == (2, 3, 4, 4, 24)
        torch.testing.assert_close(turned, plain[:, [2, 0, 1]], rtol=1e-4, atol=1e-5)
        assert model.features(crops(channels=7)).shape == (2, 7, 4, 4, 24)


def test_input_is_standardised_in_each_image_and_channel_and_blank_ones_stay_finite():
    model = tiny()
    images = crops() * 5 + 3
    images[0, 1] = 2.0
    prepared = model.prepared(images)
    assert prepared[0, 0].mean().abs() < 1e-5 and prepared[0, 0].std() == pytest.approx(1, abs=1e-3)
    assert (prepared[0, 1] == 0).all()
    as_it_is = Camae(CamaeConfig(**TINY.to_dict() | {"input": "standardised"}), 0)
    assert torch.equal(as_it_is.prepared(images), images)


def orders(n, tokens, seed=0):
    return torch.rand(n, tokens, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)


def test_hidden_pixels_change_no_prediction_and_seen_ones_do():
    model = tiny()
    images, order = crops(), orders(2, 48)
    as_it_is = Camae(CamaeConfig(**TINY.to_dict() | {"input": "standardised"}), 3).eval()
    as_it_is.load_state_dict(model.state_dict())
    with torch.no_grad():
        plain, truth = as_it_is(images, (0, 1, 2), order, 12)
        assert torch.equal(truth, patches(images, 8))
        changed = patches(images, 8)
        for row in range(2):
            changed[row, order[row, 12:]] += 1
        tiles = changed.view(2, 3, 4, 4, 8, 8).transpose(3, 4).reshape(2, 3, 32, 32)
        torch.testing.assert_close(as_it_is(tiles, (0, 1, 2), order, 12)[0], plain)
        changed[0, order[0, 0]] += 1
        tiles = changed.view(2, 3, 4, 4, 8, 8).transpose(3, 4).reshape(2, 3, 32, 32)
        other = as_it_is(tiles, (0, 1, 2), order, 12)[0]
    assert not torch.allclose(other[0], plain[0])
    torch.testing.assert_close(other[1], plain[1])


def test_each_channel_has_a_decoder_of_its_own():
    model = tiny()
    predicted, truth = model(crops(), (0, 2, 1), orders(2, 48), 12)
    token_errors(predicted, truth, 0.01)[:, :16].sum().backward()  # of the first channel alone
    blocks = [next(d.blocks.parameters()).grad for d in model.decoders]
    assert blocks[0].any() and not blocks[1].any() and not blocks[2].any()


def test_the_error_of_hidden_tokens_falls_on_a_planted_problem():
    model = tiny(2).train()
    field = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    field = torch.nn.functional.interpolate(field, (32, 32), mode="bicubic")
    images, order = torch.cat([field, -field], dim=1), orders(4, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    errors = []
    for _ in range(80):
        predicted, truth = model(images, (0, 1), order, 16)
        error = token_errors(predicted, truth, 0.01).gather(1, order[:, 16:]).mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0] and errors[-1] < 0.6  # 1 would be the mean of every channel


def test_the_embedder_gives_means_over_channels():
    model = tiny(0)
    embedder = CamaeEmbedder("camae", model, SETTINGS)
    image = crops(1, 3, seed=3)[0].repeat(1, 1, 2).numpy()  # [3, 32, 64], two equal halves
    labels = np.zeros((32, 64), np.uint16)
    labels[0:8, 0:8] = 5
    tokens = embedder.embed(image, ["A", "B", "C"], [(0, 0), (0, 32)], labels)
    with torch.no_grad():
        direct = model.features(torch.tensor(image[None, :, :, :32]))[0]
    np.testing.assert_allclose(tokens.patch[0], direct.mean(dim=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tokens.niche[1], direct.mean(dim=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    # One crop meets the cell, since strides of 16 px start right of it.
    np.testing.assert_allclose(tokens.cells[0], direct.mean(dim=0)[0, 0], rtol=1e-4, atol=1e-5)
    assert tokens.cell_ids.tolist() == [5]
    assert embedder.usable(["A", "unknown"]) == ([0, 1], "")
    empty = embedder.embed(image, ["A", "B", "C"], [], None)
    assert empty.patch.shape == (0, 4, 4, 24) and empty.cells.shape == (0, 24)
