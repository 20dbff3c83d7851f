"""Whether something is more frequent inside than outside: printed and careful tests (T10)."""

import numpy as np
from scipy.stats import false_discovery_control, norm, wilcoxon


def counts_by(groups, codes, n_groups, n_classes):
    """Return how often each class occurs in each group, int [groups, classes]."""
    flat = np.asarray(groups) * n_classes + np.asarray(codes)
    return np.bincount(flat, minlength=n_groups * n_classes).reshape(n_groups, n_classes)


def shares(counts):
    """Return counts [..., classes] as shares; NaN where there is nothing to share."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def relative_change(inside, outside):
    """Return by how much shares inside exceed those outside, in percent; NaN over a share of 0."""
    inside, outside = np.asarray(inside, float), np.asarray(outside, float)
    ratio = np.divide(inside, outside, out=np.full(inside.shape, np.nan), where=outside > 0)
    return 100 * (ratio - 1)


def resampled_change(inside, outside, draws):
    """Return relative changes [repeats, classes] with patients resampled.

    `inside`, `outside` [patients, classes]: counts; `draws` [repeats, patients]: weights.
    """
    return relative_change(shares(draws @ inside), shares(draws @ outside))


def two_proportions_p(inside, outside):
    """Return the two-sided p [classes] of the z-test for two proportions, pooled variance.

    `inside`, `outside` [classes]: counts. NaN where a side is empty or the class is nowhere.
    """
    n, m = inside.sum(), outside.sum()
    pooled = (inside + outside) / max(n + m, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        return 2 * norm.sf(np.abs(inside / n - outside / m) / spread)


def paired_p(inside, outside):
    """Return the two-sided p [classes] of Wilcoxon's test over patients with both sides.

    `inside`, `outside` [patients, classes]: counts, made shares in each patient, which then count
    alike. 1 where no patient differs, NaN without a patient of both sides.
    """
    difference = shares(inside) - shares(outside)
    difference = difference[~np.isnan(difference).any(axis=1)]
    if len(difference) == 0:
        return np.full(inside.shape[1], np.nan)
    return np.array([wilcoxon(column).pvalue if column.any() else 1.0 for column in difference.T])


def adjusted(p):
    """Return p adjusted over classes by Benjamini and Hochberg; NaN stays and counts as no test."""
    found, known = np.full(len(p), np.nan), ~np.isnan(p)
    found[known] = false_discovery_control(p[known]) if known.any() else []
    return found
