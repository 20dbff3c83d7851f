"""Cell tokens with their labels as AnnData, for scanpy and its relatives."""

from pathlib import Path

import anndata
import h5py
import pandas as pd

ROWS = 65536  # tokens held in memory at a time


def observations(index, cells, tissues):
    """Return one row per token: tissue, cell, patient, split, labels, x and y (um)."""
    where = tissues[["tissue_id", "patient_id", "split"]]
    table = index[["tissue_id", "cell_id"]].merge(cells, how="left").merge(where, how="left")
    table.index = table["tissue_id"] + "_" + table["cell_id"].astype(str)
    texts = table.select_dtypes(include=["object", "string"]).columns
    table[texts] = table[texts].astype("string").astype("category")
    return table.astype({"cell_id": "int64"})


def write_h5ad(path, table, tokens, facts):
    """Write X = `tokens` [n, D] in pieces beside `table`; the file appears when it is complete."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    names = pd.DataFrame(index=[f"token_{i}" for i in range(tokens.shape[1])])
    # Where squidpy looks for coordinates.
    place = {"spatial": table[["x", "y"]].to_numpy()} if {"x", "y"} <= set(table) else {}
    anndata.AnnData(obs=table, var=names, uns=facts, obsm=place).write_h5ad(part)
    with h5py.File(part, "r+") as file:
        chunks = (min(ROWS, len(table)), tokens.shape[1])
        x = file.create_dataset("X", tokens.shape, "float32", chunks=chunks)
        x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for start in range(0, len(table), ROWS):
            x[start : start + ROWS] = tokens[start : start + ROWS]
    part.replace(path)
