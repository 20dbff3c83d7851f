"""Whether a tissue's cell table and cell mask belong together, told by the cells' coordinates."""

from dataclasses import dataclass

import numpy as np

from workflow_scripts.cohorts.pixels import centroids


@dataclass(frozen=True)
class Overlap:
    """Shares of a tissue's table cells that lie on their own label, None without coordinates."""

    before: float | None  # as published
    after: float | None  # of the cells as used
    accepted: bool

    @property
    def aligned(self):
        """Whether the numbers were taken from the mask."""
        return self.after != self.before


def check_overlap(cells, mask, min_overlap=None, align=None):
    """Return the `cells` to use and their `Overlap` with the `mask` [H, W], in the files' pixels.

    Below `min_overlap` the cells are re-aligned by their coordinates, if `align` says so, as the
    study does for one cohort ("Dataset curation"); what is then still below is not accepted.
    """
    before = overlap(cells, mask)
    if min_overlap is None or before is None or before >= min_overlap:
        return cells, Overlap(before, before, True)
    if align is None:
        return cells, Overlap(before, before, False)
    aligned = realign(cells, mask)
    after = len(aligned) / len(cells)
    return aligned, Overlap(before, after, after >= min_overlap)


def overlap(cells, mask):
    """Return the share of `cells` (cell_id, x, y) whose pixel in `mask` has their number.

    None if no cell has coordinates. A cell without coordinates, or outside the mask, has no part.
    """
    labels = _labels_at(cells, mask)
    if labels is None:
        return None
    return float((labels == cells["cell_id"].to_numpy()).mean())


def realign(cells, mask):
    """Return the `cells` that lie on a label, with its number as `cell_id`.

    Of several on one label the one nearest to its centroid is kept.
    """
    labels = _labels_at(cells, mask)
    found = cells.assign(cell_id=labels)[labels > 0]
    centres = centroids(mask).set_index("cell_id").loc[found["cell_id"]]
    distance = np.hypot(
        found["x"].to_numpy() - centres["x"].to_numpy(),
        found["y"].to_numpy() - centres["y"].to_numpy(),
    )
    order = np.argsort(distance, kind="stable")
    nearest = found.iloc[order].drop_duplicates("cell_id")
    return nearest.sort_values("cell_id", ignore_index=True)


def _labels_at(cells, mask):
    """Return the label under each cell, 0 where there is none, or None without coordinates."""
    x, y = cells["x"].to_numpy(float), cells["y"].to_numpy(float)
    known = ~(np.isnan(x) | np.isnan(y))
    if not known.any():
        return None
    column = np.floor(np.where(known, x, -1) + 0.5).astype(int)
    row = np.floor(np.where(known, y, -1) + 0.5).astype(int)
    inside = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
    labels = np.zeros(len(cells), np.int64)
    labels[inside] = mask[row[inside], column[inside]]
    return labels
