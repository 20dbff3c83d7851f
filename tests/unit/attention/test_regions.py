"""Regions planted in a tissue are found, in their order, and none where there is none."""

import numpy as np
import pandas as pd

from workflow_scripts.attention.regions import find_regions

WANTED = [
    {"name": "mixed", "cells": [["tumour"], ["T", "B"]]},
    {"name": "stroma", "cells": [["fibroblast"]]},
    {"name": "immune", "cells": [["T", "B"]]},
]


def block(row, col, kinds, n=30, side=30, seed=0):
    """Return `n` cells of some kinds in a square."""
    rng = np.random.default_rng(seed)
    y, x = rng.uniform(0, side, (2, n))
    return pd.DataFrame({"y": row + y, "x": col + x, "label": np.resize(kinds, n)})


def tissue():
    return pd.concat(
        [
            block(0, 0, ["tumour"]),
            block(0, 64, ["tumour", "tumour", "T", "B"]),
            block(64, 0, ["fibroblast"]),
            block(64, 64, ["T", "B", "B"]),
        ]
    )


def test_each_region_is_where_it_was_planted():
    found = find_regions(tissue(), (96, 96), 32, WANTED, fewest_cells=10)
    assert found == {"mixed": (0, 64), "stroma": (64, 0), "immune": (64, 64)}


def test_regions_share_no_pixel():
    cells = block(32, 32, ["tumour", "T"])
    found = find_regions(cells, (96, 96), 32, [WANTED[0], WANTED[2]], fewest_cells=5)
    assert found["mixed"] == (32, 32) and len(found) == 1


def test_a_region_needs_its_cells():
    few = block(0, 0, ["T", "B"], n=9)
    assert find_regions(few, (96, 96), 32, WANTED, fewest_cells=10) == {}
    assert set(find_regions(few, (96, 96), 32, WANTED, fewest_cells=9)) == {"immune"}
    assert find_regions(few.assign(label=None), (96, 96), 32, WANTED, fewest_cells=1) == {}
    assert find_regions(few.iloc[:0], (96, 96), 32, WANTED, fewest_cells=0) == {}


def test_a_tissue_smaller_than_a_window_has_no_region():
    assert find_regions(tissue(), (31, 96), 32, WANTED, fewest_cells=1) == {}
