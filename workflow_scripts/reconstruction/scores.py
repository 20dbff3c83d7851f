"""Scores and intervals from the sums of hidden pixels."""

import numpy as np
import pandas as pd

from workflow_scripts.common.correlation import MOMENTS, pearson

# Printed protocol, and with every channel of a twice-measured marker hidden (D6).
PRINTED = ("independent", "marker", "niche")
ACCESSION = "marker_all_of_accession"
KEYS = ["strategy", "marker", "accession", "predictor"]


class Scores:
    """Pooled r of every marker, strategy and predictor of a cohort, for any patient weights."""

    def __init__(self, cohort, moments):
        """`moments`: the table that rule reconstruct writes; patients are the sampling units."""
        self.cohort = cohort
        filled = moments.assign(seed=moments["seed"].fillna(-1).astype(int))
        summed = filled.groupby(["patient_id", *KEYS, "seed"])[list(MOMENTS)].sum()
        self.patients = summed.index.get_level_values("patient_id").unique()
        self.keys = summed.index.droplevel("patient_id").unique().sort_values()
        self.sums = np.zeros((len(self.patients), len(self.keys), len(MOMENTS)))
        for number, patient in enumerate(self.patients):
            rows = summed.loc[patient].reindex(self.keys, fill_value=0.0)
            self.sums[number] = rows.to_numpy()

    def table(self, weights=None):
        """Return r per strategy, marker and predictor (index KEYS), averaged over mask seeds.

        `weights` [patients]: how often each patient counts; once each when None. NaN where the
        pooled truth is constant, so that r does not exist.
        """
        weights = np.ones(len(self.patients)) if weights is None else weights
        r = pearson(np.tensordot(weights, self.sums, axes=1))
        return pd.Series(r, index=self.keys).groupby(level=KEYS).mean()


def with_whole_accession(table):
    """Replace marker masking by its stricter form wherever a marker is measured twice (D6)."""
    r = table.copy()
    strict = r[r.index.get_level_values("strategy") == ACCESSION]
    for key, value in strict.items():
        r[("marker", *key[1:])] = value
    return r


def average(tables, predictor="model", strategies=PRINTED):
    """Return the mean and sd over (cohort, marker, strategy), each counted once (D3)."""
    values = pd.concat([_select(table, predictor, strategies) for table in tables]).dropna()
    return values.mean(), values.std()


def lead(table, strategy):
    """Return the model's and the baseline's mean r over the markers where both exist."""
    both = pd.DataFrame(
        {p: _select(table, p, [strategy]).droplevel("predictor") for p in ("model", "baseline")}
    )
    both = both[both["model"].notna()].fillna({"baseline": 0.0})
    return both["model"].mean(), both["baseline"].mean(), len(both)


def _select(table, predictor, strategies):
    levels = table.index.get_level_values
    return table[(levels("predictor") == predictor) & levels("strategy").isin(strategies)]
