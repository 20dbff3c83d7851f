"""Scores, intervals and paired tests from the sums of hidden pixels."""

import numpy as np
from scipy.stats import wilcoxon

from workflow_scripts.common.bootstrap import FEWEST
from workflow_scripts.reconstruction.metrics import METRICS, SUMS

# Printed protocol, and with every channel of a twice-measured marker hidden (D6).
PRINTED = ("independent", "marker", "niche")
ACCESSION = "marker_all_of_accession"
KEYS = ["strategy", "marker", "accession", "predictor"]


class Scores:
    """Scores of every marker, strategy and predictor of a cohort, for any weights of patients."""

    def __init__(self, cohort, table):
        """`table`: the sums that rule reconstruct writes; patients are the sampling units."""
        self.cohort = cohort
        filled = table.assign(seed=table["seed"].fillna(-1).astype(int))
        summed = filled.groupby([*KEYS, "seed", "patient_id"])[list(SUMS)].sum()
        wide = summed.unstack("patient_id", fill_value=0.0)
        self.patients = list(wide.columns.get_level_values("patient_id").unique())
        self.sums = wide.to_numpy().reshape(len(wide), len(SUMS), len(self.patients))
        keys = wide.index.droplevel("seed")
        self.starts = np.flatnonzero(~keys.duplicated())  # rows of one key follow each other
        self.keys = keys[self.starts].to_frame(index=False)

    def values(self, metric="pearson_r", weights=None):
        """Return the scores [..., keys] of `keys`, each the mean over mask seeds.

        `weights` [..., patients]: how often each patient counts; once each when None. NaN where
        the pooled truth is constant, so that there is no score.
        """
        weights = np.ones(len(self.patients)) if weights is None else np.asarray(weights, float)
        each = METRICS[metric](np.tensordot(weights, self.sums, axes=(-1, -1)))
        there = np.add.reduceat(~np.isnan(each), self.starts, axis=-1)
        total = np.add.reduceat(np.nan_to_num(each), self.starts, axis=-1)
        with np.errstate(invalid="ignore"):
            return np.where(there > 0, total / there, np.nan)

    def places(self, strategy, predictor="model", strict=False):
        """Return where a strategy's scores lie in `keys`, in the order of the markers' names.

        `strict`: a marker that is measured twice is the one with all its channels hidden (D6).
        """
        keys = self.keys[self.keys["predictor"] == predictor]
        rows = keys[keys["strategy"] == strategy].reset_index().set_index("marker")["index"]
        if strict and strategy == "marker":
            twice = keys[keys["strategy"] == ACCESSION].reset_index().set_index("marker")["index"]
            rows = rows.copy()
            rows[twice.index] = twice
        return rows.to_numpy()

    def table(self):
        """Return the source data: a row per marker, strategy and predictor, with every metric."""
        scores = {metric: self.values(metric) for metric in METRICS}
        return self.keys.assign(cohort=self.cohort, **scores)


def mean(values):
    """Return the mean over the last axis of the scores that exist; NaN where there is none."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(axis=-1) / there.sum(axis=-1)


def average(cohorts, weights, strict=False, metric="pearson_r"):
    """Return mean and sd [...] over (cohort, marker, strategy), each counted once (D3).

    `weights`: one [..., patients] per cohort, or None.
    """
    parts = []
    for scores, weight in zip(cohorts, weights, strict=True):
        values = scores.values(metric, weight)
        parts += [values[..., scores.places(s, strict=strict)] for s in PRINTED]
    values = np.concatenate(parts, axis=-1)
    centre, there = mean(values), ~np.isnan(values)
    squares = np.where(there, values - centre[..., None], 0) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return centre, np.sqrt(squares.sum(axis=-1) / (there.sum(axis=-1) - 1))


def means(scores, strategy, metric="pearson_r", weights=None):
    """Return the model's and the baseline's mean [...] over the markers that have a score."""
    values = scores.values(metric, weights)
    return [mean(values[..., scores.places(strategy, p)]) for p in ("model", "baseline")]


def counts(scores, strategy, metric="pearson_r"):
    """Return of how many markers there is a score, and of how many there is none."""
    values = scores.values(metric)[scores.places(strategy)]
    missing = int(np.isnan(values).sum())
    return len(values) - missing, missing


def paired_p(ours, theirs):
    """Return the p value of Wilcoxon's signed-rank test of paired patients [n], two-sided.

    Pixels and images of a patient are not independent, so that a patient is one pair. None for
    fewer than three pairs.
    """
    gap = np.asarray(ours, float) - np.asarray(theirs, float)
    gap = gap[~np.isnan(gap)]
    if len(gap) < FEWEST:
        return None
    return float(wilcoxon(gap).pvalue) if gap.any() else 1.0
