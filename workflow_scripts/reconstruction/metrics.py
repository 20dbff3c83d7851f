"""Scores of hidden pixels from sums: one pass, and memory that the test split does not change."""

import numpy as np

from workflow_scripts.common.correlation import MOMENTS, ROUNDING, pearson

SUMS = (*MOMENTS, "truth_positive", "guess_positive", "both_positive")


def hidden_sums(truth, guess, hidden, thresholds):
    """Return the SUMS [C, 9] float64 over the hidden pixels of each channel.

    `truth`, `guess`, `hidden` (bool) [C, H, W]; `thresholds` [C]: a pixel above its channel's is
    positive. Sums of sums are those of all the pixels, so that crops and images simply add up.
    """
    hidden = hidden.reshape(len(hidden), -1)
    truth, guess = (
        np.where(hidden, values.reshape(hidden.shape), 0).astype(np.float64)
        for values in (truth, guess)
    )
    level = np.asarray(thresholds, np.float64)[:, None]
    positive, called = hidden & (truth > level), hidden & (guess > level)
    return np.stack(
        [
            hidden.sum(axis=1),
            truth.sum(axis=1),
            guess.sum(axis=1),
            np.einsum("cp,cp->c", truth, truth),
            np.einsum("cp,cp->c", guess, guess),
            np.einsum("cp,cp->c", truth, guess),
            positive.sum(axis=1),
            called.sum(axis=1),
            (positive & called).sum(axis=1),
        ],
        axis=1,
    )


def truth_varies(sums):
    """Return whether the truth of sums [..., 9] varies at all; without that there is no score."""
    n, x, _, xx = np.moveaxis(np.asarray(sums)[..., :4], -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return xx / n - (x / n) ** 2 > ROUNDING * xx / n


def pearson_r(sums):
    """Return r from sums [..., 9]: NaN where the truth is constant, 0 where only the guess is."""
    r = pearson(np.asarray(sums)[..., : len(MOMENTS)])
    return np.where(truth_varies(sums) & np.isnan(r), 0.0, r)


def positivity_f1(sums):
    """Return the F1 of positive pixels from sums [..., 9] (D18); NaN where the truth is constant.

    Also NaN where no pixel of the truth is positive, so that a model and its baseline are scored on
    the same markers whatever they guess.
    """
    truth, guess, both = np.moveaxis(np.asarray(sums, np.float64)[..., len(MOMENTS) :], -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(truth_varies(sums) & (truth > 0), 2 * both / (truth + guess), np.nan)


METRICS = {"pearson_r": pearson_r, "f1": positivity_f1}


def tissue_means(tissues, positions):
    """Return each channel's mean [C] over the tissue pixels of `tissues`: positivity's threshold.

    The threshold has to be known before the first pixel is compared with it, so that the images
    are read once more than the model reads them; NaN without a tissue pixel (D18).
    """
    n, total = 0, np.zeros(len(positions))
    for tissue in tissues:
        inside = tissue.tissue_mask()
        pixels = tissue.image(positions)[:, inside]
        n, total = n + pixels.shape[1], total + pixels.sum(axis=1, dtype=np.float64)
    return total / n if n else np.full(len(positions), np.nan)
