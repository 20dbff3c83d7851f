"""Regions of a tissue found by rule, from the cell types in a window (D30)."""

import numpy as np

from workflow_scripts.common.crops import grid_crops


def find_regions(cells, shape, side, wanted, fewest_cells):
    """Return region name -> (row, col) of its window, those that the tissue has.

    `cells`: table with x, y (px) and `label`; `shape`: of the tissue; `side`: of a window, px;
    `wanted`: [{name, cells: groups of classes}]. A window scores the smallest share that one of the
    groups has among its labelled cells, so that all groups must be there. Windows overlap by half,
    have at least `fewest_cells`, and those chosen share no pixel: regions choose in their order.
    """
    cells = cells.dropna(subset=["label"])
    half = side // 2
    origins = half * grid_crops(shape[0] // half - 1, shape[1] // half - 1, 1)
    rows, cols = cells["y"].to_numpy(), cells["x"].to_numpy()
    labels = cells["label"].to_numpy(dtype=object)
    inside = [
        labels[(rows >= row) & (rows < row + side) & (cols >= col) & (cols < col + side)]
        for row, col in origins
    ]
    found = {}
    for region in wanted:
        best = (0.0, 0)  # score; of windows that score alike, the one with most cells
        for origin, here in zip(origins.tolist(), inside, strict=True):
            if len(here) < max(fewest_cells, 1) or _taken(origin, found, region["name"], side):
                continue
            score = min(np.isin(here, group).mean() for group in region["cells"])
            if score > 0 and (score, len(here)) > best:
                best, found[region["name"]] = (score, len(here)), tuple(origin)
    return found


def _taken(origin, found, own, side):
    """Return whether a window shares a pixel with that of another region."""
    others = (place for name, place in found.items() if name != own)
    return any(abs(origin[0] - row) < side and abs(origin[1] - col) < side for row, col in others)
