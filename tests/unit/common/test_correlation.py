"""Streamed correlation against SciPy on all pixels at once."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from workflow_scripts.common.correlation import (
    channel_correlation,
    moments,
    most_correlated_channel,
    pearson,
)


def test_sums_of_parts_give_scipys_r_of_the_whole():
    rng = np.random.default_rng(0)
    truth = rng.normal(3, 2, 10_000).astype(np.float32)
    guess = (0.3 * truth + rng.normal(size=10_000)).astype(np.float32)
    parts = np.split(np.arange(10_000), [1, 17, 5000])
    total = sum(moments(truth[part], guess[part]) for part in parts)
    assert pearson(total) == pytest.approx(pearsonr(truth, guess).statistic, abs=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7])
def test_r_of_a_constant_does_not_exist(constant):
    values = np.random.default_rng(0).normal(size=999)
    still = np.full(999, constant, np.float32)
    assert np.isnan(pearson(moments(values, still)))
    assert np.isnan(pearson(moments(still, values)))
    assert np.isnan(pearson(np.zeros(6)))


def test_channel_matrix_is_numpys_and_the_best_other_is_signed():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(3, 40, 50))
    channels = np.stack(
        [base[0], base[0] + base[1], -base[0] + 0.1 * base[2], np.full((40, 50), -0.3)]
    )
    matrix = channel_correlation([channels[:, :10], channels[:, 10:]], 4)
    np.testing.assert_allclose(matrix[:3, :3], np.corrcoef(channels[:3].reshape(3, -1)), atol=1e-12)
    # Channel 2 is channel 0 turned over: a copy of it would be wrong, so it is not the best.
    assert most_correlated_channel(matrix)[:2].tolist() == [1, 0]
    assert np.isnan(matrix[3]).all() and most_correlated_channel(matrix)[3] == -1
    nothing = channel_correlation([], 4)
    assert nothing.shape == (4, 4) and (most_correlated_channel(nothing) == -1).all()
    assert most_correlated_channel(np.array([[1.0, np.nan], [np.nan, 1.0]])).tolist() == [-1, -1]
