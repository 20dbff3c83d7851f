"""Baseline: mean raw counts of every marker in every patch, niche and cell, as tokens (D9)."""

import json
import shutil
from pathlib import Path

import pandas as pd

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.crops import tissue_grid
from workflow_scripts.common.embedders import MeanIntensity
from workflow_scripts.common.images import read_ome_zarr
from workflow_scripts.common.job import log, run
from workflow_scripts.common.tokens import TokenStore

COLUMNS = "accessions.json"


def main(snakemake):
    """Average the counts of the channels that have an accession, in the order of the panel."""
    params = snakemake.params
    cohort, means = CohortFiles(params.cohort_folder), MeanIntensity(**params.settings)
    channels = pd.read_parquet(cohort.folder / "imc/channels.parquet")
    names = channels[channels["qc_pass"] & channels["uniprot_id"].notna()]["channel_name"]
    folder = Path(snakemake.output[0])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # Columns with names: who needs some markers only takes them.
    (folder / COLUMNS).write_text(json.dumps(cohort.accessions()))
    store = TokenStore(folder)
    for tissue in cohort.tissues():
        image, stored = read_ome_zarr(Path(snakemake.input.images) / f"{tissue.id}.ome.zarr")
        counts = image[[stored.index(name) for name in names]]
        origins = tissue_grid(tissue.tissue_mask(), means.crop, params.min_coverage)
        tokens = means.embed(counts, None, origins, tissue.cell_mask())
        niches = [{"tissue_id": tissue.id, "row": row, "col": col} for row, col in origins]
        store.append("patch", tokens.patch, [])  # at the positions of the niches
        store.append("niche", tokens.niche, niches)
        cells = [{"tissue_id": tissue.id, "cell_id": cell} for cell in tokens.cell_ids]
        store.append("cells", tokens.cells, cells)
    levels = store.close()["level"].value_counts().to_dict()
    log.info("%s: %s, %d markers", cohort.id, levels, len(names))


if __name__ == "__main__":
    run(main, globals())
