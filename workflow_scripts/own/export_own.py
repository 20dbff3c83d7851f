"""Tokens of cells and niches as AnnData, with what a reader must know of them in `uns`."""

import json

import anndata
import pandas as pd

from workflow_scripts.common.cells_h5ad import observations, write_h5ad
from workflow_scripts.common.job import log, run
from workflow_scripts.common.provenance import provenance
from workflow_scripts.common.tokens import read_tokens

SHOWN = ["marker", "uniprot_id", "measured", "trained", "distance", "r", "error", "bound"]


def niches_of(index, tissues, crop):
    """Return one row per niche token: tissue, patient, centre x and y (um)."""
    where = tissues[["tissue_id", "patient_id", "split"]]
    table = index[["tissue_id", "row", "col"]].merge(where, how="left")
    table = table.assign(x=table["col"] + crop / 2, y=table["row"] + crop / 2)
    table = table.astype({"x": float, "y": float, "row": "int64", "col": "int64"})
    places = table["row"].astype(str) + "_" + table["col"].astype(str)
    table.index = table["tissue_id"] + "_" + places
    texts = ["tissue_id", "patient_id", "split"]
    table[texts] = table[texts].astype("string").astype("category")
    return table


def with_types(cells, types):
    """Return the cell table with the transferred types; a label of its own is kept beside it."""
    return cells.merge(
        types, how="left", on=["tissue_id", "cell_id"], suffixes=("", "_transferred")
    )


def write(path, table, tokens, facts):
    """Write an AnnData file; an empty one where there is nothing of this level."""
    if len(table):
        write_h5ad(path, table, tokens, facts)
    else:
        anndata.AnnData(uns=facts).write_h5ad(path)


def main(snakemake):
    """Write cells.h5ad and niches.h5ad."""
    files, params, out = snakemake.input, snakemake.params, snakemake.output
    tissues, cells = pd.read_parquet(files.tissues), pd.read_parquet(files.cells)
    channels, markers = pd.read_parquet(files.channels), pd.read_parquet(files.markers)
    facts = {
        "model": params.model,
        "cohort": snakemake.wildcards.cohort,
        "simulated": params.simulated,
        "pixel_size_um": 1.0,
        "panel": channels[["channel_name", "uniprot_id", "qc_pass"]].fillna({"uniprot_id": ""}),
        "markers": markers[SHOWN],
        "provenance": json.dumps(provenance()),
    }
    if getattr(files, "types", None):
        cells = with_types(cells, pd.read_parquet(files.types))
    index, tokens = read_tokens(files.embeddings, "cells")
    table = observations(index, cells, tissues) if len(index) else index
    write(out.cells, table, tokens, facts)
    niches, niche_tokens = read_tokens(files.embeddings, "niche")
    write(out.niches, niches_of(niches, tissues, params.crop), niche_tokens, facts)
    log.info("%d cells and %d niches", len(table), len(niches))


if __name__ == "__main__":
    run(main, globals())
