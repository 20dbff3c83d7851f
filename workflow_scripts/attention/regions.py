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
        scores = [
            min((np.isin(here, group).mean() for group in region["cells"]), default=0.0)
            if len(here) >= max(fewest_cells, 1) and not _taken(origin, found.values(), side)
            else 0.0
            for here, origin in zip(inside, origins, strict=True)
        ]
        if max(scores, default=0.0) > 0:
            found[region["name"]] = tuple(int(x) for x in origins[int(np.argmax(scores))])
    return found


def _taken(origin, others, side):
    return any(abs(origin[0] - row) < side and abs(origin[1] - col) < side for row, col in others)
