"""Niche tokens of the central 4 x 4 crops of every tissue ("Information retrieval")."""

import numpy as np

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.job import log, run
from workflow_scripts.common.matching import GRID, central_grid, embed_niches
from workflow_scripts.common.rivals.fitting import fit_niches
from workflow_scripts.common.staging import staged
from workflow_scripts.common.tasks import task_classes, tissues_of


def main(snakemake):
    """Embed the tissues that have a class of the task, and log how many were left out and why."""
    params = snakemake.params
    table = tissues_of(params.cohort_folder)
    classes = task_classes(table, params.task, params.where)
    embedder = open_embedder(
        snakemake.wildcards.model,
        params.model_folder,
        snakemake.input.embeddings,
        params.settings,
        params.device,
    )
    cohort = CohortFiles(params.cohort_folder)
    if hasattr(embedder, "fit"):
        fit_niches(embedder, cohort, params.settings["crop"], params.min_coverage)
    kept, tokens, small = [], [], 0
    for tissue in cohort.tissues():
        if classes[tissue.id] is None:
            continue
        origins = central_grid(*tissue.file.shape[1:], params.settings["crop"])
        if origins is None:
            small += 1
            continue
        niches = embed_niches(embedder, tissue, origins)
        if niches is not None:
            kept.append(tissue.id)
            tokens.append(niches)
    log.info(
        "%d of %d tissues: %d without a class, %d smaller than %d crops on a side",
        *(len(kept), len(table), classes.isna().sum(), small, GRID),
    )
    tokens = np.stack(tokens) if tokens else np.empty((0, GRID * GRID, 0), np.float32)
    with staged(snakemake.output.tokens) as (part,), part.open("wb") as file:
        np.savez(file, tissues=np.array(kept, dtype=str), tokens=tokens)


if __name__ == "__main__":
    run(main, globals())
