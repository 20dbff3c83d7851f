"""Clip, log1p, blur and standardise against whole-array NumPy, SciPy and torch, and by hand."""

import tracemalloc

import numpy as np
import pytest
import tifffile
import torch

from benchmarks.preprocess import whole_array
from workflow_scripts.common.preprocessing import (
    cohort_moments,
    constant_channels,
    gaussian_kernel,
    image_statistics,
    standardise,
    upper_quantile,
)

KERNEL = gaussian_kernel(3, 1.0)


def counts(shape, seed=0):
    return np.random.default_rng(seed).gamma(0.6, 4.0, shape).astype("float32")


def some_tissue(shape, seed=0):
    return np.random.default_rng(seed + 100).random(shape) < 0.6


@pytest.mark.parametrize("size", [1, 2, 3, 100, 101, 997])
@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.99, 1.0])
def test_quantile_is_numpys(size, quantile):
    values = counts(size, seed=size)
    assert upper_quantile(values, quantile) == pytest.approx(np.quantile(values, quantile), 1e-6)
    tied = np.round(values)
    assert upper_quantile(tied, quantile) == pytest.approx(np.quantile(tied, quantile), 1e-6)


def test_quantile_of_nothing_is_zero():
    assert upper_quantile(np.empty(0, "float32"), 0.99) == 0


def test_kernel_by_hand():
    side = np.exp(-0.5)
    np.testing.assert_allclose(KERNEL, np.array([side, 1, side]) / (1 + 2 * side), rtol=1e-15)
    assert gaussian_kernel(1, 1.0).tolist() == [1.0]


def test_one_image_by_hand():
    """Counts 0, 1, e - 1 ...: logs are chosen, the clip cuts the outlier, the border reflects."""
    logs = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0], [2.0, 0.0, 3.0]])
    image = np.expm1(logs).astype("float32")[None]
    image[0, 2, 2] = 1e6
    result = standardise(image, [np.expm1(3.0)], [0.5], [2.0], KERNEL, [0])
    s, m = KERNEL[0], KERNEL[1]
    # Rows above and left of the first are the second one: reflected, the edge is not repeated.
    down = np.array([m * logs[0] + 2 * s * logs[1], m * logs[1] + s * (logs[0] + logs[2])])
    corner = m * down[0][0] + 2 * s * down[0][1]
    centre = m * down[1][1] + s * (down[1][0] + down[1][2])
    assert result[0, 0, 0] == pytest.approx((corner - 0.5) / 2, abs=1e-3)
    assert result[0, 1, 1] == pytest.approx((centre - 0.5) / 2, abs=1e-3)
    last = m * (m * 3.0 + 2 * s * 0.0) + 2 * s * (m * 0.0 + 2 * s * 0.0)
    assert result[0, 2, 2] == pytest.approx((last - 0.5) / 2, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 17, 31), (5, 64, 48), (4, 101, 2)])
def test_an_image_is_that_of_whole_arrays(shape):
    image, tissue = counts(shape), some_tissue(shape[1:])
    own = image_statistics(image, tissue, 0.99, "tissue", "tissue")
    stds = np.sqrt(own.deviations / own.count)
    if not stds.all():
        stds = np.ones(len(image))
    expected = whole_array(image, tissue, 0.99, KERNEL, own.means, stds)
    result = standardise(image.copy(), own.quantiles, own.means, stds, KERNEL, range(len(image)))
    assert result.dtype == np.float16
    np.testing.assert_allclose(
        result.astype("float32"), expected.astype("float32"), rtol=1e-3, atol=2e-4
    )


@pytest.mark.parametrize(("size", "sigma"), [(1, 1.0), (3, 0.5), (5, 2.0), (7, 1.0)])
def test_blur_is_a_reflected_convolution_of_torch(size, sigma):
    image = counts((2, 40, 33))
    kernel = gaussian_kernel(size, sigma)
    top = image.max(axis=(1, 2))
    result = standardise(image.copy(), top, np.zeros(2), np.ones(2), kernel, [0, 1])
    weights = torch.from_numpy(np.outer(kernel, kernel)).float()[None, None]
    half = size // 2
    padded = torch.nn.functional.pad(
        torch.from_numpy(np.log1p(image))[:, None], (half,) * 4, mode="reflect"
    )
    expected = torch.nn.functional.conv2d(padded, weights)[:, 0].numpy()
    np.testing.assert_allclose(result.astype("float32"), expected, rtol=1e-3, atol=2e-4)


def test_some_channels_only():
    image = counts((6, 20, 30))
    settings = (image.max(axis=(1, 2)), np.arange(6.0), np.arange(1.0, 7.0), KERNEL)
    every = standardise(image.copy(), *settings, range(6)).copy()
    some = standardise(image.copy(), *settings, [1, 4, 5])
    np.testing.assert_array_equal(some, every[[1, 4, 5]])


def test_the_image_s_own_memory_is_used():
    image = counts((40, 160, 160))
    quantiles, means, stds = image.max(axis=(1, 2)), np.zeros(40), np.ones(40)
    tracemalloc.start()
    result = standardise(image, quantiles, means, stds, KERNEL, range(40))
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.shares_memory(result, image)
    assert allocated < 0.12 * image.nbytes


def test_counts_below_zero_are_zero():
    image = counts((1, 20, 20)) - 1
    result = standardise(image.copy(), [5.0], [0.0], [1.0], KERNEL, [0])
    cut = standardise(np.maximum(image, 0), [5.0], [0.0], [1.0], KERNEL, [0])
    np.testing.assert_array_equal(result, cut)
    below = image_statistics(np.full((1, 9, 9), -2, "float32"), np.ones((9, 9)), 0.99, "all", "all")
    assert below.quantiles[0] == below.means[0] == 0


def test_what_float16_cannot_hold_is_cut():
    image = np.zeros((1, 8, 8), "float32")
    image[0, 4, 4] = 100
    result = standardise(image, [100.0], [0.0], [1e-9], KERNEL, [0])
    assert np.isfinite(result).all()
    assert result[0, 4, 4] == np.finfo("float16").max


@pytest.mark.parametrize("quantile_over", ["tissue", "positive", "all"])
@pytest.mark.parametrize("statistics_over", ["tissue", "all"])
def test_statistics_are_those_of_numpy(quantile_over, statistics_over):
    image, tissue = np.floor(counts((4, 50, 60))), some_tissue((50, 60))
    image[2] = 0
    result = image_statistics(image, tissue, 0.9, quantile_over, statistics_over)
    for c, channel in enumerate(image):
        ranked = {"tissue": channel[tissue], "positive": channel[channel > 0], "all": channel}
        ranked = ranked[quantile_over]
        top = np.quantile(ranked, 0.9) if ranked.size else 0.0
        assert result.quantiles[c] == pytest.approx(top)
        logs = np.log1p(np.clip(channel.astype("float64"), 0, top))
        logs = logs[tissue] if statistics_over == "tissue" else logs
        assert result.count == logs.size
        assert result.means[c] == pytest.approx(logs.mean(), rel=1e-6)
        assert result.deviations[c] == pytest.approx(logs.var() * logs.size, rel=1e-5)
        assert (result.lowest[c], result.highest[c]) == pytest.approx((logs.min(), logs.max()))


def test_an_image_without_tissue_is_clipped_by_itself_and_adds_nothing():
    image = counts((2, 30, 30))
    result = image_statistics(image, np.zeros((30, 30), bool), 0.99, "tissue", "tissue")
    np.testing.assert_allclose(result.quantiles, np.quantile(image, 0.99, axis=(1, 2)), rtol=1e-6)
    assert result.count == 0
    other = image_statistics(image, np.ones((30, 30), bool), 0.99, "tissue", "tissue")
    alone, pooled = cohort_moments([other], 2), cohort_moments([result, other], 2)
    np.testing.assert_array_equal(alone, pooled)


def test_a_cohort_is_its_pixels_pooled_whatever_the_order():
    images = [counts((3, 20 + 7 * i, 40), seed=i) * (i + 1) for i in range(6)]
    tissues = [some_tissue(image.shape[1:], seed=i) for i, image in enumerate(images)]
    pairs = zip(images, tissues, strict=True)
    parts = [image_statistics(*pair, 0.99, "tissue", "tissue") for pair in pairs]
    logs = [
        np.log1p(np.minimum(image.astype("float64"), part.quantiles[:, None, None]))[:, tissue]
        for image, tissue, part in zip(images, tissues, parts, strict=True)
    ]
    pooled = np.concatenate(logs, axis=1)
    means, stds = cohort_moments(parts, 3)
    np.testing.assert_allclose(means, pooled.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(stds, pooled.std(axis=1), rtol=1e-6)
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(6)
        again = cohort_moments([parts[i] for i in order], 3)
        np.testing.assert_array_equal(again, (means, stds))


def test_a_small_spread_around_a_large_mean_is_kept():
    rng = np.random.default_rng(0)
    images = [np.expm1(np.float64(9) + 1e-3 * rng.standard_normal((1, 50, 50))) for _ in range(3)]
    images = [image.astype("float32") for image in images]
    parts = [image_statistics(i, np.ones((50, 50)), 1.0, "all", "all") for i in images]
    logs = np.log1p(np.stack(images).astype("float64"))
    assert cohort_moments(parts, 1)[1][0] == pytest.approx(logs.std(), rel=1e-3)


def test_no_image_at_all():
    means, stds = cohort_moments([], 3)
    assert np.isnan(means).all()
    assert np.isnan(stds).all()
    assert constant_channels([], 3).tolist() == [False] * 3


def test_constant_is_one_value_over_all_images_after_the_clip():
    tissue = np.ones((20, 20), bool)
    one, other = np.zeros((2, 4, 20, 20), "float32")
    one[1], other[1] = 3, 3  # the same value in both images
    one[2], other[2] = 3, 4  # one value each, but not the same
    one[3, 0, 0] = 9  # a single pixel, which the clip removes
    parts = [image_statistics(i, tissue, 0.99, "tissue", "tissue") for i in (one, other)]
    assert constant_channels(parts, 4).tolist() == [True, True, False, True]


def test_statistics_of_a_real_image_are_taken_before_the_blur(shared):
    folder = shared("real/risom2022/Point2203_pt1072_31606")
    image = np.stack([tifffile.imread(folder / f"{name}.tif") for name in ("HH3", "SMA", "CD45")])
    image = image.astype("float32").reshape(3, 512, 2, 512, 2).sum(axis=(2, 4))
    tissue = image.sum(axis=0) > np.median(image.sum(axis=0))
    part = image_statistics(image, tissue, 0.99, "tissue", "tissue")
    inside = image[:, tissue].astype("float64")
    top = np.quantile(inside, 0.99, axis=1)
    np.testing.assert_allclose(part.quantiles, top, rtol=1e-6)
    logs = np.log1p(np.minimum(inside, top[:, None]))
    means, stds = cohort_moments([part], 3)
    np.testing.assert_allclose(means, logs.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(stds, logs.std(axis=1), rtol=1e-6)
    result = standardise(image, part.quantiles, means, stds, KERNEL, range(3)).astype("float32")
    spread = result[:, tissue].std(axis=1)
    assert (spread < 0.95).all()  # the blur took pixel noise away; stds after it would give 1
