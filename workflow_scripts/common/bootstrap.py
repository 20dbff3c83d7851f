"""Intervals from resampling the independent units of a test split, which are its patients."""

import numpy as np


def resamples(n_patients, repeats, seed):
    """Return bootstrap weights [repeats, n_patients]; none when there are fewer than 2 patients."""
    if n_patients < 2:
        return np.empty((0, n_patients))
    generator = np.random.default_rng(seed)
    return generator.multinomial(n_patients, np.full(n_patients, 1 / n_patients), repeats)


def interval(values):
    """Return the central 95 % of bootstrap values, (None, None) when there are none."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    return tuple(np.quantile(values, [0.025, 0.975])) if len(values) else (None, None)
