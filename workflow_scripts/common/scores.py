"""F1 of classes from counts per patient, their intervals, and paired comparisons of models."""

import numpy as np

from workflow_scripts.common.bootstrap import FEWEST, interval, resamples


class Confusion:
    """Counts of test cells by patient, true type and predicted type, for any patient weights."""

    def __init__(self, table, others=(), count="cells"):
        """`table`: counts as rule probe_cells writes. Classes are those that the test cells have.

        `others`: types that another model predicted for the same cells, to have equal shapes;
        `count`: the column that says how many a row stands for, as images can be counted too.
        """
        self.patients = sorted(table["patient_id"].unique())
        self.classes = sorted(table["truth"].unique())
        extra = (set(table["predicted"]) | set(others)) - set(self.classes)
        names = [*self.classes, *sorted(extra)]
        place = {name: i for i, name in enumerate(names)}
        self.counts = np.zeros((len(self.patients), len(names), len(names)))
        at = (
            table["patient_id"].map({p: i for i, p in enumerate(self.patients)}),
            table["truth"].map(place),
            table["predicted"].map(place),
        )
        np.add.at(self.counts, at, table[count])

    def support(self):
        """Return the test cells of each class [classes]."""
        return self.counts.sum(axis=(0, 2))[: len(self.classes)].astype(int)

    def f1(self, weights=None):
        """Return F1 of each class [..., classes]; NaN for one that the weighted patients lack.

        `weights` [..., patients]: how often each patient counts; once each when None.
        """
        weights = np.ones(len(self.patients)) if weights is None else weights
        return f1_of(np.tensordot(weights, self.counts, axes=1))[..., : len(self.classes)]

    def macro_f1(self, weights=None):
        """Return the unweighted mean of F1 over the classes [...]."""
        return np.nanmean(self.f1(weights), axis=-1)


def f1_of(matrix):
    """Return F1 of each class from counts [..., true, predicted]; NaN without a true cell."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    truth, predicted = matrix.sum(axis=-1), matrix.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(truth > 0, 2 * hits / (truth + predicted), np.nan)


def paired(table, other):
    """Return the Confusions of two models that were scored on the same cells, else None."""
    first = Confusion(table, other["predicted"])
    second = Confusion(other, table["predicted"])
    if first.patients != second.patients or first.classes != second.classes:
        return None
    kinds = len(first.classes)
    same = (first.counts.sum(axis=2)[:, :kinds] == second.counts.sum(axis=2)[:, :kinds]).all()
    return (first, second) if same else None


def difference(first, second, repeats, seed):
    """Return macro-F1 of `first` less that of `second`, its 95 % interval and a two-sided p value.

    The interval resamples patients, the same for both models. The test swaps the two models'
    predictions patient by patient: all ways if there are no more than `repeats`, else random ones.
    None where there are too few patients.
    """
    observed = float(first.macro_f1() - second.macro_f1())
    draws = resamples(len(first.patients), repeats, seed)
    if not len(draws):
        return observed, None, None, None
    low, high = interval(first.macro_f1(draws) - second.macro_f1(draws))
    return observed, low, high, swap_test(first, second, repeats, seed)


def swap_test(first, second, repeats, seed):
    """Return the p value of equal macro-F1 when each patient's predictions may be swapped."""
    patients = len(first.patients)
    if patients < FEWEST:
        return None
    exact = patients < 31 and 2**patients <= repeats
    if exact:
        keep = (np.arange(2**patients)[:, None] >> np.arange(patients)) & 1
    else:
        keep = np.random.default_rng(seed).integers(0, 2, (repeats, patients))
    kinds = len(first.classes)
    gaps = [
        np.nanmean(
            f1_of(np.tensordot(w, first.counts, 1) + np.tensordot(1 - w, second.counts, 1))[
                ..., :kinds
            ],
            axis=-1,
        )
        for w in (keep, 1 - keep)
    ]
    observed = abs(first.macro_f1() - second.macro_f1())
    extreme = (np.abs(gaps[0] - gaps[1]) >= observed - 1e-12).sum()
    return float(extreme / len(keep) if exact else (1 + extreme) / (1 + repeats))


def holm(ps):
    """Return Holm's adjusted p values in the order of `ps`."""
    ps = np.asarray(ps, float)
    order = np.argsort(ps, kind="stable")
    steps = ps[order] * np.arange(len(ps), 0, -1)
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
