"""Units of the example pictures."""

import numpy as np

from workflow_scripts.reconstruction.draw_examples import to_intensity


def test_one_is_the_99th_percentile_and_zero_no_signal():
    mean, std, quantile = np.array([0.7]), np.array([0.5]), np.array([9.0])
    counts = np.array([[[0.0, 9.0, 2.0]]])
    standardised = (np.log1p(counts) - mean) / std
    shown = to_intensity(standardised, mean, std, quantile)
    np.testing.assert_allclose(shown, [[[0.0, 1.0, np.log(3) / np.log(10)]]])
    assert (to_intensity(standardised - 9, mean, std, quantile) == 0).all()
