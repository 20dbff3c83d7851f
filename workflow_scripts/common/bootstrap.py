"""Intervals from resampling the independent units of a test split, which are its patients."""

import numpy as np

FEWEST = 3  # two patients have three resamples, which is no distribution


def resamples(n_patients, repeats, seed):
    """Return bootstrap weights [repeats, n_patients]; none for fewer than `FEWEST` patients."""
    if n_patients < FEWEST:
        return np.empty((0, n_patients))
    generator = np.random.default_rng(seed)
    return generator.multinomial(n_patients, np.full(n_patients, 1 / n_patients), repeats)


def interval(values):
    """Return the central 95 % of bootstrap values, (None, None) when there are none."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    return tuple(np.quantile(values, [0.025, 0.975])) if len(values) else (None, None)
