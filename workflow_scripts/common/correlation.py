"""Pooled Pearson correlation from sums, so that memory does not grow with the test split."""

import numpy as np

# Rounding leaves a constant with a variance of about 1e-16 of its square.
ROUNDING = 1e-9
MOMENTS = ("n", "sum_truth", "sum_guess", "sum_truth2", "sum_guess2", "sum_product")


def moments(truth, guess):
    """Return the six sums [6] float64 of paired pixels; sums of sums pool images and crops."""
    truth = np.asarray(truth, np.float64).ravel()
    guess = np.asarray(guess, np.float64).ravel()
    return np.array(
        [truth.size, truth.sum(), guess.sum(), truth @ truth, guess @ guess, truth @ guess]
    )


def pearson(sums):
    """Return r from sums [..., 6]; NaN where truth or guess is constant or there is no pixel."""
    n, x, y, xx, yy, xy = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        var_x, var_y, cov = xx / n - (x / n) ** 2, yy / n - (y / n) ** 2, xy / n - x * y / n**2
        varies = (var_x > ROUNDING * xx / n) & (var_y > ROUNDING * yy / n)
        return np.where(varies, cov / np.sqrt(var_x * var_y), np.nan)


def channel_correlation(images, channels):
    """Return the signed Pearson matrix [C, C] over the pixels of `images`, C = `channels`.

    NaN beside a constant channel; all NaN without any image.
    """
    n, total, products = 0, 0.0, 0.0
    for image in images:
        pixels = np.asarray(image, np.float64).reshape(len(image), -1)
        n += pixels.shape[1]
        total = total + pixels.sum(axis=1)
        products = products + pixels @ pixels.T
    if n == 0:
        return np.full((channels, channels), np.nan)
    covariance = products / n - np.outer(total, total) / n**2
    variance, square = np.diag(covariance), np.diag(products) / n
    deviation = np.sqrt(np.where(variance > ROUNDING * square, variance, np.nan))
    return covariance / np.outer(deviation, deviation)


def most_correlated_channel(correlation):
    """Return for each channel the other one with the highest signed r, or -1 where none has one.

    The sign counts: a baseline that copies another marker cannot know to turn it over.
    """
    others = np.where(np.isnan(correlation), -np.inf, correlation)
    np.fill_diagonal(others, -np.inf)
    best = others.argmax(axis=1)
    return np.where(others.max(axis=1) > -np.inf, best, -1)
