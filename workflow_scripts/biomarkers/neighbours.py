"""Which cells are neighbours, and of which types (Fig. 5g, D15)."""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from workflow_scripts.biomarkers import enrichment
from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.errors import InputError


def pairs_within(cells, radius):
    """Return the places of cells whose centroids lie within `radius` um, both ways, [pairs, 2].

    `cells`: tissue_id, x and y (um).
    """
    found = [np.empty((0, 2), int)]
    for _, places in cells.groupby("tissue_id", sort=False).indices.items():
        tree = cKDTree(cells[["x", "y"]].to_numpy()[places])
        found.append(places[tree.query_pairs(radius, output_type="ndarray")])
    pairs = np.concatenate(found)
    return np.concatenate([pairs, pairs[:, ::-1]])


def find_pairs(cells, path, radius):
    """Return the places of neighbours [pairs, 2], and in words who they are (D15).

    `path`: of a table of neighbours, None without any. One of no rows counts as none: then
    neighbours are those within `radius` um.
    """
    table = None if path is None else _read(path)
    if table is None or table.empty:
        return pairs_within(cells, radius), f"centroids within {radius:g} um (D15)"
    return pairs_listed(table, cells, path), "neighbours as the cohort lists them (D15)"


def _read(path):
    return pd.read_parquet(path) if str(path).endswith(".parquet") else pd.read_csv(path)


def pairs_listed(table, cells, path):
    """Return the places of neighbours that a `table` lists, both ways, [pairs, 2].

    Its columns are the tissue, `from` and `to`; pairs with a cell that `cells` lacks are left out.
    InputError, which names `path`, for other columns and when no pair is left.
    """
    if len(table.columns) != 3 or list(table.columns[1:]) != ["from", "to"]:
        raise InputError(
            f"{path}: expected three columns, the tissue, 'from' and 'to', found "
            f"{', '.join(table.columns)}; write them in this order"
        )
    keys = pd.MultiIndex.from_frame(cells[["tissue_id", "cell_id"]])
    ends = [
        keys.get_indexer(pd.MultiIndex.from_arrays([table.iloc[:, 0].astype(str), table[end]]))
        for end in ("from", "to")
    ]
    pairs = np.stack(ends, axis=1)
    pairs = pairs[(pairs >= 0).all(axis=1)]
    if not len(pairs):
        raise InputError(
            f"{path}: none of its {len(table)} pairs is between two of the {len(cells)} cells, "
            f"expected their numbers, such as {cells['cell_id'].iloc[0]} of tissue "
            f"{cells['tissue_id'].iloc[0]}; correct it, or set biomarkers.surroundings.graph: null"
        )
    return np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)


def compare(cells, pairs, signature, cell_type, frequent, repeats, seed):
    """Return a tidy table of the neighbours of one type of cells inside and outside a signature.

    `cells`: patient_id, label and the bool column `signature`; `pairs` [n, 2]: places of a cell and
    its neighbour. As printed, pairs of all patients are pooled and tested by z; beside it shares
    are compared in each patient (T10). `shown` marks the types with the largest sum of both shares.
    """
    owners, patients = pd.factorize(cells["patient_id"])
    codes, types = pd.factorize(cells["label"], sort=True)
    focal = (cells["label"] == cell_type).to_numpy()
    member = cells[signature].to_numpy(bool)
    pairs = pairs[focal[pairs[:, 0]] & (codes[pairs[:, 1]] >= 0)]
    sides = [
        enrichment.counts_by(owners[one[:, 0]], codes[one[:, 1]], len(patients), len(types))
        for one in (pairs[member[pairs[:, 0]]], pairs[~member[pairs[:, 0]]])
    ]
    inside, outside = sides
    drawn = enrichment.resampled_change(*sides, resamples(len(patients), repeats, seed))
    ends = np.array([interval(column) for column in drawn.T], float).reshape(-1, 2)
    share, other = (enrichment.shares(side.sum(axis=0)) for side in sides)
    p = enrichment.paired_p(*sides)
    both = (inside.sum(axis=1) > 0) & (outside.sum(axis=1) > 0)
    table = pd.DataFrame(
        {
            "signature": signature,
            "cell_type": cell_type,
            "neighbour": types,
            "pairs_inside": inside.sum(axis=0),
            "pairs_outside": outside.sum(axis=0),
            "share_inside": share,
            "share_outside": other,
            "change_percent": enrichment.relative_change(share, other),
            "low": ends[:, 0],
            "high": ends[:, 1],
            "z_test_p": enrichment.two_proportions_p(inside.sum(axis=0), outside.sum(axis=0)),
            "wilcoxon_p": p,
            "adjusted_p": enrichment.adjusted(p),
            "patients": int(both.sum()),
        }
    )
    common = table["share_inside"].fillna(0) + table["share_outside"].fillna(0)
    table["shown"] = common.rank(method="first", ascending=False) <= frequent
    return table
