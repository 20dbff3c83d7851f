"""Baseline: mean raw counts of every marker in every cell, as tokens (D9)."""

import json
import shutil
from pathlib import Path

import pandas as pd

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.embedders import mean_over_cells
from workflow_scripts.common.images import read_ome_zarr
from workflow_scripts.common.job import log, run
from workflow_scripts.common.tokens import TokenStore

COLUMNS = "accessions.json"


def main(snakemake):
    """Average the counts of the channels that have an accession, in the order of the panel."""
    cohort = CohortFiles(snakemake.params.cohort_folder)
    channels = pd.read_parquet(cohort.folder / "imc/channels.parquet")
    names = channels[channels["qc_pass"] & channels["uniprot_id"].notna()]["channel_name"]
    folder = Path(snakemake.output[0])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # Columns with names: who needs some markers only takes them.
    (folder / COLUMNS).write_text(json.dumps(cohort.accessions()))
    store, total = TokenStore(folder), 0
    for tissue in cohort.tissues():
        labels = tissue.cell_mask()
        if labels is None:
            continue
        image, stored = read_ome_zarr(Path(snakemake.input.images) / f"{tissue.id}.ome.zarr")
        ids, cells = mean_over_cells(image[[stored.index(name) for name in names]], labels)
        store.append("cells", cells, [{"tissue_id": tissue.id, "cell_id": cell} for cell in ids])
        total += len(ids)
    store.close()
    log.info("%s: %d cells, %d markers", cohort.id, total, len(names))


if __name__ == "__main__":
    run(main, globals())
