"""Patch, niche, cell and tissue tokens of one model for one cohort."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.crops import tissue_grid
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.rivals.fitting import fit_niches
from workflow_scripts.common.tokens import TokenStore


def over_panel(tokens, places, width):
    """Return `Tokens` with a column per channel of the cohort's panel.

    `places`: where the tissue's channels are in it. The others were not stained and get 0, the mean
    of a standardised channel.
    """

    def spread(array):
        full = np.zeros((*array.shape[:-1], width), np.float32)
        full[..., places] = array
        return full

    parts = {name: spread(getattr(tokens, name)) for name in ("patch", "niche", "cells")}
    return replace(tokens, **parts)


def embed_tissue(embedder, tissue, crop, min_coverage, store, panel):
    """Append the tokens of one tissue to `store`; `panel` names the cohort's channels."""
    positions, left_out = embedder.usable(tissue.accessions)
    if not positions:
        raise InputError(
            f"tissue {tissue.id}: {embedder.name} can read none of its channels ({left_out}), "
            "expected at least one; take the model out of `models`, or the cohort out of `cohorts`"
        )
    image = tissue.image(positions)
    origins = tissue_grid(tissue.tissue_mask(), crop, min_coverage)
    accessions = [tissue.accessions[i] for i in positions]
    tokens = embedder.embed(image, accessions, origins, tissue.cell_mask())
    if getattr(embedder, "per_channel", False):
        places = [panel.index(tissue.markers[i]) for i in positions]
        tokens = over_panel(tokens, places, len(panel))
    niches = [{"tissue_id": tissue.id, "row": row, "col": col} for row, col in origins]
    if tokens.patch is not None:
        # A grid of patches has the position of its niche, where there are niche tokens.
        store.append("patch", tokens.patch, niches if tokens.niche is None else [])
    if tokens.niche is not None:
        store.append("niche", tokens.niche, niches)
    if tokens.cells is not None:
        cells = [{"tissue_id": tissue.id, "cell_id": cell} for cell in tokens.cell_ids]
        store.append("cells", tokens.cells, cells)
    if tokens.niche is not None and len(niches):
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
    if hasattr(embedder, "fit"):
        fit_niches(embedder, cohort, settings["crop"], snakemake.params.min_coverage)
    panel, coverage = cohort.markers(), snakemake.params.min_coverage
    for tissue in cohort.tissues():
        embed_tissue(embedder, tissue, settings["crop"], coverage, store, panel)
    index = store.close()
    log.info("%s of %s: %s", embedder.name, cohort.id, index["level"].value_counts().to_dict())


if __name__ == "__main__":
    run(main, globals())
