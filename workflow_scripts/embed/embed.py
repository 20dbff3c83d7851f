"""Patch, niche, cell and tissue tokens of one model for one cohort."""

import shutil
from pathlib import Path

import numpy as np

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.crops import tissue_grid
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.rivals.panels import crops_of, shared_panel
from workflow_scripts.common.tokens import TokenStore


class TrainNiches:
    """Niche crops of a cohort's train split, not too many, read anew in each pass.

    Iterating yields (crops [n, C, S, S], accessions) of each tissue.
    """

    def __init__(self, cohort, embedder, side, min_coverage):
        self.embedder, self.side = embedder, side
        self.tissues = list(cohort.tissues("train"))
        grids = [tissue_grid(t.tissue_mask(), side, min_coverage) for t in self.tissues]
        places = [(i, *origin) for i, grid in enumerate(grids) for origin in grid.tolist()]
        rng = np.random.default_rng(embedder.seed)
        chosen = sorted(rng.permutation(len(places))[: embedder.fit_niches])
        self.origins = {}
        for tissue, row, col in (places[i] for i in chosen):
            self.origins.setdefault(tissue, []).append((row, col))

    def __iter__(self):
        for place, origins in self.origins.items():
            tissue = self.tissues[place]
            positions, _ = self.embedder.usable(tissue.accessions)
            accessions = [tissue.accessions[i] for i in positions]
            yield crops_of(tissue.image(positions), origins, self.side), accessions


def fit(embedder, cohort, side, min_coverage):
    """Let a model whose niche tokens are components of the cohort learn them (D22).

    Where that cannot be, it has no niche tokens, and all else goes on without them.
    """
    panels = []
    for tissue in cohort.tissues():
        positions, _ = embedder.usable(tissue.accessions)
        panels.append([tissue.accessions[i] for i in positions])
    try:
        embedder.fit(TrainNiches(cohort, embedder, side, min_coverage), shared_panel(panels))
    except InputError as error:
        log.error("no niche tokens of %s for %s: %s", embedder.name, cohort.id, error)


def embed_tissue(embedder, tissue, crop, min_coverage, store):
    """Append the tokens of one tissue to `store`."""
    positions, _ = embedder.usable(tissue.accessions)
    image = tissue.image(positions)
    origins = tissue_grid(tissue.tissue_mask(), crop, min_coverage)
    accessions = [tissue.accessions[i] for i in positions]
    tokens = embedder.embed(image, accessions, origins, tissue.cell_mask())
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
        fit(embedder, cohort, settings["crop"], snakemake.params.min_coverage)
    for tissue in cohort.tissues():
        embed_tissue(embedder, tissue, settings["crop"], snakemake.params.min_coverage, store)
    index = store.close()
    log.info("%s of %s: %s", embedder.name, cohort.id, index["level"].value_counts().to_dict())


if __name__ == "__main__":
    run(main, globals())
