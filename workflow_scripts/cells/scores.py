"""F1 of cell types from counts per patient, and their intervals."""

import numpy as np


class Confusion:
    """Counts of test cells by patient, true type and predicted type, for any patient weights."""

    def __init__(self, table):
        """`table`: what rule probe_cells writes. Classes are those that the test cells have."""
        self.patients = sorted(table["patient_id"].unique())
        self.classes = sorted(table["truth"].unique())
        names = [*self.classes, *sorted(set(table["predicted"]) - set(self.classes))]
        place = {name: i for i, name in enumerate(names)}
        self.counts = np.zeros((len(self.patients), len(names), len(names)))
        at = (
            table["patient_id"].map({p: i for i, p in enumerate(self.patients)}),
            table["truth"].map(place),
            table["predicted"].map(place),
        )
        np.add.at(self.counts, at, table["cells"])

    def support(self):
        """Return the test cells of each class [classes]."""
        return self.counts.sum(axis=(0, 2))[: len(self.classes)].astype(int)

    def f1(self, weights=None):
        """Return F1 of each class [classes]; NaN for one that the weighted patients lack.

        `weights` [patients]: how often each patient counts; once each when None.
        """
        weights = np.ones(len(self.patients)) if weights is None else weights
        matrix = np.tensordot(weights, self.counts, axes=1)
        hits, truth, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        with np.errstate(invalid="ignore"):
            f1 = np.where(truth > 0, 2 * hits / (truth + predicted), np.nan)
        return f1[: len(self.classes)]

    def macro_f1(self, weights=None):
        """Return the unweighted mean of F1 over the classes."""
        return float(np.nanmean(self.f1(weights)))
