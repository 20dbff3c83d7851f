"""Streamed scores against SciPy and scikit-learn on all hidden pixels at once."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import f1_score

from workflow_scripts.reconstruction.metrics import (
    hidden_sums,
    pearson_r,
    positivity_f1,
    tissue_means,
)

THRESHOLDS = np.array([0.3, -0.2, 1.5])


def crops(n, side=40, seed=0):
    """Yield (truth, guess, hidden) of n crops of three channels, correlated and off centre."""
    for place in range(n):
        rng = np.random.default_rng((seed, place))
        truth = rng.normal((0, 1, -2), 1.3, (side, side, 3)).transpose(2, 0, 1)
        guess = (0.5 * truth + rng.normal(0, 0.7, truth.shape)).astype(np.float32)
        yield truth.astype(np.float32), guess, rng.random(truth.shape) < rng.uniform(0.6, 1)


def test_sums_of_crops_give_the_scores_of_all_hidden_pixels():
    total = sum(hidden_sums(*crop, THRESHOLDS) for crop in crops(9))
    for channel, threshold in enumerate(THRESHOLDS):
        pairs = [(t[channel][h[channel]], g[channel][h[channel]]) for t, g, h in crops(9)]
        truth, guess = (np.concatenate(parts).astype(float) for parts in zip(*pairs, strict=True))
        r = pearsonr(truth, guess).statistic
        assert pearson_r(total)[channel] == pytest.approx(r, abs=1e-12)
        f1 = f1_score(truth > threshold, guess > threshold)
        assert positivity_f1(total)[channel] == pytest.approx(f1, abs=1e-12)


def test_visible_pixels_do_not_count():
    truth, guess, hidden = next(crops(1))
    changed = np.where(hidden, guess, 1e6)
    expected = hidden_sums(truth, guess, hidden, THRESHOLDS)
    np.testing.assert_array_equal(hidden_sums(truth, changed, hidden, THRESHOLDS), expected)


def test_memory_does_not_grow_with_the_test_split():
    peaks = []
    for n in (4, 40):
        tracemalloc.start()
        total = 0
        for crop in crops(n):
            total = total + hidden_sums(*crop, THRESHOLDS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7])
def test_a_constant_truth_has_no_score_and_a_constant_guess_scores_nothing(constant):
    truth, guess, hidden = next(crops(1))
    still = np.full_like(truth, constant)
    sums = hidden_sums(still, guess, hidden, THRESHOLDS)
    assert np.isnan(pearson_r(sums)).all() and np.isnan(positivity_f1(sums)).all()
    assert (pearson_r(hidden_sums(truth, still, hidden, THRESHOLDS)) == 0).all()
    nothing = np.zeros_like(hidden)
    assert np.isnan(pearson_r(hidden_sums(truth, guess, nothing, THRESHOLDS))).all()


def test_a_marker_without_a_positive_pixel_has_no_f1_whatever_is_guessed():
    truth, guess, hidden = next(crops(1))
    for threshold in (guess.max() + 1, truth.max() + 1, guess.min()):
        sums = hidden_sums(np.minimum(truth, threshold - 1), guess, hidden, [threshold] * 3)
        assert np.isnan(positivity_f1(sums)).all()
    assert (positivity_f1(hidden_sums(truth, guess - 100, hidden, THRESHOLDS)) == 0).all()


class Half:
    """A tissue of which the left half is tissue."""

    def __init__(self, values):
        self.values = np.asarray(values, np.float32)

    def tissue_mask(self):
        mask = np.zeros(self.values.shape, bool)
        mask[:, : mask.shape[1] // 2] = True
        return mask

    def image(self, positions):
        return np.stack([self.values * (position + 1) for position in positions])


def test_the_threshold_is_the_mean_over_the_tissue_of_all_images():
    tissues = [Half([[1, 9], [2, 9]]), Half([[3, 9, 9, 9]])]
    # Tissue pixels: 1, 2 and 3, 9 of channel 0; twice that of channel 1.
    np.testing.assert_allclose(tissue_means(tissues, [0, 1]), [15 / 4, 30 / 4])
    assert np.isnan(tissue_means([], [0, 1])).all()
