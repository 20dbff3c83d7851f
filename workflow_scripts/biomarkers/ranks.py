"""How much of a patient's tissue belongs to a cluster of cells, as a rank (Methods, biomarkers)."""

import numpy as np


def proportions(patients_of_cells, members, patients):
    """Return the share of each patient's cells that are members, [patients] float.

    `patients_of_cells` [cells]: whose cell it is; `members` [cells] bool; `patients`: the order of
    the result. Cells of other patients are ignored. A patient without a cell has NaN, for which
    there is no rank: leave such patients out before.
    """
    patients_of_cells, members = np.asarray(patients_of_cells), np.asarray(members, bool)
    patients = np.asarray(patients)
    order = np.argsort(patients)
    places = np.searchsorted(patients[order], patients_of_cells).clip(max=len(patients) - 1)
    places = order[places]
    known = patients[places] == patients_of_cells
    cells = np.bincount(places[known], minlength=len(patients))
    inside = np.bincount(places[known & members], minlength=len(patients))
    return np.divide(inside, cells, out=np.full(len(patients), np.nan), where=cells > 0)


def ranks(shares, cut_points=None):
    """Return ranks [patients], int 0 to 3, and the two cut-points between ranks 1, 2 and 3.

    Rank 0 is a share of 0. Cut-points are the tertiles of the positive shares unless given (D16); a
    share at a cut-point has the lower rank. Without a positive share both are 0.
    ValueError for a share that is NaN.
    """
    shares = np.asarray(shares, float)
    if np.isnan(shares).any():
        raise ValueError("a patient without a cell has no rank")
    positive = shares[shares > 0]
    if cut_points is None:
        cut_points = np.quantile(positive, [1 / 3, 2 / 3]) if len(positive) else (0.0, 0.0)
    cut_points = tuple(float(value) for value in cut_points)
    return np.where(shares > 0, 1 + np.searchsorted(cut_points, shares), 0), cut_points
