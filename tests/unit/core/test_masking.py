"""Masks hide exactly what they say, evenly."""

import math

import pytest
import torch

from virtues_core import independent_mask, marker_mask, niche_mask

GRID = (16, 16)


def test_counts_of_independent_masks():
    channels = 10_000
    mask = independent_mask(channels, GRID, generator=torch.Generator().manual_seed(0))
    assert mask.shape == (channels, *GRID) and mask.dtype == torch.bool
    counts = mask.flatten(1).sum(1)
    # r ~ U(0.6, 1) of 256: 154 to 256, each count as likely but for the first.
    assert counts.min() == 154 and counts.max() == 256
    assert counts.unique().numel() == 256 - 154 + 1
    assert abs(counts.double().mean() - 205.299) < 4 * 29.561 / channels**0.5
    assert abs((counts == 256).double().mean() - 0.00977) < 0.004
    assert abs((counts == 154).double().mean() - 0.00391) < 0.0025
    hidden = mask.double().mean(0)
    assert (hidden - 0.80195).abs().max() < 5 * 0.4 / channels**0.5


@pytest.mark.parametrize("ratio", [0, 0.07, 1 / 3, 0.5, 0.6, 0.97, 1])
def test_exactly_the_ceiling_is_hidden(ratio):
    mask = independent_mask(50, (10, 10), (ratio, ratio))
    assert (mask.flatten(1).sum(1) == math.ceil(100 * ratio)).all()
    if 0 < ratio < 1:
        assert len({tuple(m.flatten().tolist()) for m in mask}) > 5


def test_marker_mask():
    mask = marker_mask(5, GRID, hidden=3)
    assert mask[3].all() and not mask[[0, 1, 2, 4]].any()
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([marker_mask(5, GRID, generator=generator) for _ in range(500)])
    whole = drawn.flatten(2).all(2)
    assert (whole.sum(1) == 1).all() and (drawn.flatten(1).sum(1) == 256).all()
    assert (whole.sum(0) > 60).all()
    with pytest.raises(ValueError, match="cannot hide channel 5 of an image with 5 channels"):
        marker_mask(5, GRID, hidden=5)


def test_niche_mask():
    generator = torch.Generator().manual_seed(0)
    masks = [niche_mask(4, GRID, generator=generator) for _ in range(200)]
    counts = {int(mask[0].sum()) for mask in masks}
    assert all((mask == mask[0]).all() and mask.shape == (4, *GRID) for mask in masks)
    assert min(counts) >= 154 and max(counts) <= 256 and len(counts) > 50
    masks[0][0] = False  # channels do not share memory
    assert masks[0][1].any()


@pytest.mark.parametrize("draw", [independent_mask, marker_mask, niche_mask])
def test_seed_decides(draw):
    first, again, other = (
        draw(40, GRID, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first.equal(again) and not first.equal(other)


@pytest.mark.parametrize("ratios", [(0.8, 0.6), (-0.1, 1), (0.6, 1.1)])
def test_ratios_must_be_a_range(ratios):
    with pytest.raises(ValueError, match="mask ratios must be a range within 0 and 1"):
        independent_mask(3, GRID, ratios)
