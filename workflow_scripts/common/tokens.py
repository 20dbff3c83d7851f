"""Token arrays of a cohort and the index that names their rows: written once, read by tasks."""

from pathlib import Path

import numpy as np
import pandas as pd
import zarr

from workflow_scripts.common.images import BLOSC

ROWS_PER_CHUNK = {"patch": 16, "niche": 1024, "cells": 4096, "tissue": 1024}
READ = 8192  # rows read at a time
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


class Rows:
    """Chosen rows of a token array on disk, read again in every pass unless they fit in memory."""

    def __init__(self, array, positions, memory=0):
        """`array` [n, D] (zarr or NumPy); `positions`: ascending; `memory`: bytes kept at most."""
        self.array, self.positions = array, np.asarray(positions, np.int64)
        if (np.diff(self.positions) <= 0).any():
            raise ValueError("positions must ascend")
        fits = len(self.positions) * array.shape[1] * 4 <= memory
        self.kept = list(self._read()) if fits else None

    def __len__(self):
        return len(self.positions)

    @property
    def width(self):
        """D, the number of columns."""
        return self.array.shape[1]

    def __iter__(self):
        """Yield the rows in order, as float32 blocks [m, D]."""
        return iter(self.kept) if self.kept is not None else self._read()

    def _read(self):
        for start in range(0, self.array.shape[0], READ):
            first, last = np.searchsorted(self.positions, (start, start + READ))
            if first < last:
                block = np.asarray(self.array[start : start + READ], np.float32)
                yield block[self.positions[first:last] - start]
