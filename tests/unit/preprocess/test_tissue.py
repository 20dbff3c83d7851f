"""Otsu's mask against a planted tissue and a brute-force threshold."""

import numpy as np
import pytest
import tifffile
from scipy.ndimage import binary_fill_holes, gaussian_filter, label

from workflow_scripts.common.tissue import tissue_mask


def planted(seed=0):
    """Return counts [5, 200, 220] with a bright disc that has a dark hole, and the disc."""
    rng = np.random.default_rng(seed)
    rows, cols = np.ogrid[:200, :220]
    distance = np.hypot(rows - 100, cols - 110)
    disc, hole = distance < 70, distance < 15
    rates = np.where(disc & ~hole, 6.0, 0.3) * np.linspace(0.5, 2, 5)[:, None, None]
    return rng.poisson(rates).astype("float32"), disc


def brute_force_otsu(values, bins=256):
    """Return the cut that maximises the variance between the two sides."""
    counts, edges = np.histogram(values, bins)
    centres = (edges[:-1] + edges[1:]) / 2
    best, cut = -1.0, None
    for place in range(1, bins):
        low, high = counts[:place], counts[place:]
        if low.sum() == 0 or high.sum() == 0:
            continue
        gap = np.average(centres[:place], weights=low) - np.average(centres[place:], weights=high)
        between = low.sum() * high.sum() * gap**2
        if between > best:
            best, cut = between, centres[place - 1]
    return cut


def test_a_planted_tissue_is_found_with_its_hole_filled():
    image, disc = planted()
    mask = tissue_mask(image, 2.0)
    assert mask.dtype == bool
    assert (mask & disc).sum() / (mask | disc).sum() > 0.97
    assert mask[100, 110]


def test_the_mask_is_otsu_of_the_smoothed_mean_of_logs():
    image, _ = planted(1)
    smooth = gaussian_filter(np.log1p(image.astype("float64")).mean(axis=0), 2.0)
    expected = binary_fill_holes(smooth > brute_force_otsu(smooth))
    np.testing.assert_array_equal(tissue_mask(image, 2.0), expected)


def test_sigma_smooths():
    image, _ = planted(2)
    pieces = [label(tissue_mask(image[:1], sigma))[1] for sigma in (0.0, 1.0, 2.0)]
    assert pieces[0] > 100 > pieces[1] >= pieces[2] == 1


@pytest.mark.parametrize("channels", [0, 1, 4])
@pytest.mark.parametrize("value", [0.0, 0.1, 7.0])
def test_a_constant_image_has_no_tissue(channels, value):
    mask = tissue_mask(np.full((channels, 40, 50), value, dtype="float32"), 2.0)
    assert mask.shape == (40, 50)
    assert not mask.any()


def test_negative_counts_are_taken_as_zero():
    image, _ = planted(3)
    below = np.where(image == 0, -3, image).astype("float32")
    np.testing.assert_array_equal(tissue_mask(below, 2.0), tissue_mask(image, 2.0))


def test_real_tissue_is_brighter_than_its_surroundings(shared):
    folder = shared("real/risom2022/Point2203_pt1072_31606")
    image = np.stack([tifffile.imread(path) for path in sorted(folder.glob("*.tif"))])
    mask = tissue_mask(image, 4.0)  # 2 um at 0.5 um per pixel
    assert 0.2 < mask.mean() < 0.95
    assert image[:, mask].mean() > 2 * image[:, ~mask].mean()
