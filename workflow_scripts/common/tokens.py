"""Token arrays of a cohort and the index that names their rows: written once, read by tasks."""

from pathlib import Path

import pandas as pd
import zarr

from workflow_scripts.common.images import BLOSC

ROWS_PER_CHUNK = {"patch": 16, "niche": 1024, "cells": 4096, "tissue": 1024}
COLUMNS = ["level", "position", "tissue_id", "row", "col", "cell_id"]


class TokenStore:
    """The tokens of one model for one cohort, `embeddings/<model>/<cohort>/`, while written."""

    def __init__(self, folder):
        self.folder, self.arrays, self.index = Path(folder), {}, []

    def append(self, level, tokens, rows):
        """Add tokens [n, ...] and one index row each ({tissue_id, ...}).

        Patch grids need none where niche tokens have: they share their positions.
        """
        if level not in self.arrays:
            self.arrays[level] = zarr.create_array(
                self.folder / f"{level}.zarr",
                shape=(0, *tokens.shape[1:]),
                chunks=(ROWS_PER_CHUNK[level], *tokens.shape[1:]),
                dtype="float32",
                compressors=BLOSC,
            )
        start = self.arrays[level].shape[0]
        self.arrays[level].append(tokens)
        self.index += [{"level": level, "position": start + i, **r} for i, r in enumerate(rows)]

    def close(self):
        """Write the index: level, position in the array, tissue, niche origin (px) or cell."""
        index = pd.DataFrame(self.index, columns=COLUMNS)
        index = index.astype({name: "Int64" for name in ("position", "row", "col", "cell_id")})
        index.to_parquet(self.folder / "index.parquet", index=False)
        return index


def read_tokens(folder, level):
    """Return the index rows of a level and its array, not yet read; (rows, None) without any."""
    folder = Path(folder)
    index = pd.read_parquet(folder / "index.parquet")
    rows = index[index["level"] == level].reset_index(drop=True)
    path = folder / f"{level}.zarr"
    return rows, (zarr.open_array(path, mode="r") if path.exists() else None)
