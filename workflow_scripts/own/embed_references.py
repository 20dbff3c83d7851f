"""Tokens that an own cohort and the reference cohorts share: seen through the same markers."""

import json

import numpy as np

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.job import log, run
from workflow_scripts.common.matching import GRID, central_grid, embed_niches
from workflow_scripts.common.shared_markers import embed_cells, shared_accessions
from workflow_scripts.common.staging import staged

FACTS, OWN, REFERENCE = "facts.json", "own", "reference"
SPLITS = ("train", "test")  # to learn from, and to say how well it works at home


def draw(tissues, count, seed):
    """Return at most `count` of a list of tissues, drawn at random, in their order."""
    chosen = np.random.default_rng(seed).permutation(len(tissues))[:count]
    return [tissues[i] for i in sorted(chosen)]


def carry(tissues, accessions):
    """Return the tissues that were stained for all `accessions`."""
    return [tissue for tissue in tissues if set(accessions) <= set(tissue.accessions)]


def grid_of(tissue, crop):
    """Return how many crops fit on a side of a tissue, GRID at most."""
    return min(GRID, min(tissue.file.shape[1:]) // crop)


def write_niches(path, embedder, tissues, accessions, crop, grids):
    """Write the niche tokens of the central crops, an array `<tissue> <grid>` for each of `grids`.

    A tissue that is too small for a grid has no tokens of it.
    """
    arrays = {}
    for tissue in tissues:
        for grid in grids:
            origins = central_grid(*tissue.file.shape[1:], crop, grid)
            if origins is not None:
                niches = embed_niches(embedder, tissue, origins, accessions)
                arrays[f"{tissue.id} {grid}"] = niches
    with path.open("wb") as file:
        np.savez(file, **arrays)


def main(snakemake):
    """Embed cells for label transfer and central niches for similar cases, as far as wanted."""
    params, crop = snakemake.params, snakemake.params.settings["crop"]
    embedder = open_embedder(
        params.model,
        params.model_folder,
        snakemake.input.embeddings,
        params.settings,
        params.device,
    )
    own, facts = CohortFiles(params.cohort_folder), {}
    with staged(snakemake.output[0]) as (folder,):
        folder.mkdir()
        for kind, reference in params.references.items():
            other = CohortFiles(reference)
            shared = shared_accessions(own.accessions(), other.accessions())
            shared = [shared[i] for i in embedder.usable(shared)[0]]
            facts[kind] = {"cohort": other.id, "markers": shared}
            if len(shared) < params.fewest_markers:
                log.warning("%s: %d markers shared with %s", kind, len(shared), other.id)
                continue
            mine = carry(own.tissues(), shared)
            (folder / kind).mkdir()
            if kind == "types":
                train, test = (carry(other.tissues(split), shared) for split in SPLITS)
                theirs = draw(train, params.tissues, params.seed)
                theirs += draw(test, params.tissues // 4 + 1, params.seed)
                for name, cohort, tissues in ((OWN, own, mine), (REFERENCE, other, theirs)):
                    embed_cells(embedder, cohort, shared, folder / kind / name, tissues)
            else:
                grids = sorted({grid_of(tissue, crop) for tissue in mine} - {0})
                theirs = carry(other.tissues(), shared)
                for name, tissues in ((OWN, mine), (REFERENCE, theirs)):
                    path = folder / kind / f"{name}.npz"
                    write_niches(path, embedder, tissues, shared, crop, grids)
                log.info("cases: %d tissues against %d", len(mine), len(theirs))
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    run(main, globals())
