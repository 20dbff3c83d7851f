"""Cell tokens with their labels as AnnData, for scanpy and its relatives."""

import json

import anndata
import pandas as pd

from workflow_scripts.common.cells_h5ad import observations, write_h5ad
from workflow_scripts.common.job import log, run
from workflow_scripts.common.provenance import provenance
from workflow_scripts.common.tokens import read_tokens


def main(snakemake):
    """Write the cells of one model and cohort; without any cell, an empty object."""
    files, wildcards = snakemake.input, snakemake.wildcards
    index, tokens = read_tokens(files.embeddings, "cells")
    cells, tissues = pd.read_parquet(files.cells), pd.read_parquet(files.tissues)
    channels = pd.read_parquet(files.channels)
    facts = {
        "model": wildcards.model,
        "cohort": wildcards.cohort,
        "simulated": snakemake.params.simulated,
        "panel": channels[["channel_name", "uniprot_id", "qc_pass"]].fillna({"uniprot_id": ""}),
        "provenance": json.dumps(provenance()),
    }
    table = observations(index, cells, tissues)
    if len(table):
        write_h5ad(snakemake.output.cells, table, tokens, facts)
    else:
        anndata.AnnData(uns=facts).write_h5ad(snakemake.output.cells)
    log.info("%d cells of %d tissues", len(table), table["tissue_id"].nunique())


if __name__ == "__main__":
    run(main, globals())
