"""Patch, niche, cell and tissue tokens of one model for one cohort."""

import shutil
from pathlib import Path

import pandas as pd
import zarr

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.crops import tissue_grid
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.images import BLOSC
from workflow_scripts.common.job import log, run

ROWS_PER_CHUNK = {"patch": 16, "niche": 1024, "cells": 4096, "tissue": 1024}


class TokenStore:
    """Token arrays of a cohort and the index that names their rows."""

    def __init__(self, folder):
        self.folder, self.arrays, self.index = Path(folder), {}, []

    def append(self, level, tokens, rows):
        """Add tokens [n, ...] and one index row each ({tissue_id, ...})."""
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
        if level != "patch":  # a patch grid has the position of its niche
            self.index += [{"level": level, "position": start + i, **r} for i, r in enumerate(rows)]

    def close(self):
        """Write the index: level, position in the array, tissue, niche origin (px) or cell."""
        columns = ["level", "position", "tissue_id", "row", "col", "cell_id"]
        index = pd.DataFrame(self.index, columns=columns)
        index = index.astype({name: "Int64" for name in ("position", "row", "col", "cell_id")})
        index.to_parquet(self.folder / "index.parquet", index=False)
        return index


def embed_tissue(embedder, tissue, crop, min_coverage, store):
    """Append the tokens of one tissue to `store`."""
    positions, _ = embedder.usable(tissue.accessions)
    image = tissue.image(positions)
    origins = tissue_grid(tissue.tissue_mask(), crop, min_coverage)
    accessions = [tissue.accessions[i] for i in positions]
    tokens = embedder.embed(image, accessions, origins, tissue.cell_mask())
    niches = [{"tissue_id": tissue.id, "row": row, "col": col} for row, col in origins]
    cells = [{"tissue_id": tissue.id, "cell_id": cell} for cell in tokens.cell_ids]
    store.append("patch", tokens.patch, niches)
    store.append("niche", tokens.niche, niches)
    store.append("cells", tokens.cells, cells)
    if len(niches):
        store.append("tissue", tokens.niche.mean(axis=0, keepdims=True), [{"tissue_id": tissue.id}])


def main(snakemake):
    """Embed every tissue of the cohort, or write empty tables when all were excluded."""
    settings = snakemake.params.settings
    embedder = open_embedder(
        snakemake.wildcards.model,
        snakemake.params.model_folder,
        snakemake.input.embeddings,
        settings,
        snakemake.params.device,
    )
    folder = Path(snakemake.output[0])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    store = TokenStore(folder)
    cohort = CohortFiles(snakemake.params.cohort_folder)
    for tissue in cohort.tissues():
        embed_tissue(embedder, tissue, settings["crop"], snakemake.params.min_coverage, store)
    index = store.close()
    log.info("%s of %s: %s", embedder.name, cohort.id, index["level"].value_counts().to_dict())


if __name__ == "__main__":
    run(main, globals())
