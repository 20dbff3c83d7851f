"""One region of a test tissue per masking strategy, chosen by rule, and filled in (D30)."""

from itertools import product

import numpy as np
import pandas as pd

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.job import log, run
from workflow_scripts.reconstruction.evaluation import STRATEGIES, masking_tasks

CHANNELS_SHOWN = 4


def choose_cohort(panels, wanted):
    """Return the cohort whose panel has the most of the `wanted` accessions; first wins a tie."""
    return max(panels, key=lambda cohort: len(set(wanted) & set(panels[cohort])))


def choose_channels(accessions, wanted, spread):
    """Return up to four channels: the wanted ones, then those that vary most in the crop."""
    chosen = [accessions.index(accession) for accession in wanted if accession in accessions]
    for channel in np.argsort(-np.asarray(spread)):
        if len(chosen) == min(CHANNELS_SHOWN, len(accessions)):
            break
        if channel not in chosen:
            chosen.append(int(channel))
    return chosen[:CHANNELS_SHOWN]


def choose_region(scores, strategy, shapes, crop, side):
    """Return (tissue_id, row, col, rows, cols): where an example is, and its size in crops.

    Candidates are all blocks of crops of about `side` px. Of the half with more signal, so that
    there is something to see, the one of median score is taken (D30); None without any score.
    `shapes`: tissue_id -> (height, width) in px.
    """
    scores = scores[(scores["strategy"] == strategy) & scores["r"].notna()]
    candidates = []
    for tissue_id, group in scores.groupby("tissue_id"):
        fits = [length // crop for length in shapes[tissue_id]]
        rows, cols = (min(max(1, side // crop), n) for n in fits)
        for row, col in product(range(fits[0] - rows + 1), range(fits[1] - cols + 1)):
            inside = group[
                (group["row"] // crop).between(row, row + rows - 1)
                & (group["col"] // crop).between(col, col + cols - 1)
            ]
            if len(inside):
                place = (tissue_id, row * crop, col * crop, rows, cols)
                candidates.append((place, inside["spread"].sum(), inside["r"].mean()))
    if not candidates:
        return None
    middle = np.median([spread for _, spread, _ in candidates])
    lively = sorted((r, place) for place, spread, r in candidates if spread >= middle)
    return lively[len(lively) // 2][1]


def reconstruct_region(model, image, accessions, shown, region, strategy, settings, seed):
    """Return mask [n, rows G, cols G] and guess [n, rows S, cols S] of the `shown` channels.

    Every crop is masked and filled in by itself, as when it is scored.
    """
    tissue_id, top, left, rows, cols = region
    size, grid = settings["crop"], settings["crop"] // settings["patch"]
    mask = np.zeros((len(shown), rows * grid, cols * grid), bool)
    guess = np.zeros((len(shown), rows * size, cols * size), np.float32)
    for i, j in product(range(rows), range(cols)):
        row, col = top + i * size, left + j * size
        crop = image[:, row : row + size, col : col + size]
        name = f"{tissue_id} {row} {col}"
        patches = np.s_[i * grid : (i + 1) * grid, j * grid : (j + 1) * grid]
        pixels = np.s_[i * size : (i + 1) * size, j * size : (j + 1) * size]
        for task in masking_tasks(name, accessions, grid, settings["mask_ratio"], [seed]):
            scored = [channel for channel in shown if channel in task.channels]
            if task.strategy == strategy and scored:
                filled = model.reconstruct([crop], accessions, task.mask[None])[0]
                for channel in scored:
                    mask[shown.index(channel)][patches] = task.mask[channel]
                    guess[shown.index(channel)][pixels] = filled[channel]
    return mask, guess


def example(model, cohort, region, strategy, wanted, settings, seed):
    """Return the arrays of one example: truth, mask, guess of up to four channels, and units."""
    tissue_id, top, left, rows, cols = region
    tissue = next(t for t in cohort.tissues("test") if t.id == tissue_id)
    positions, _ = model.usable(tissue.accessions)
    accessions = [tissue.accessions[i] for i in positions]
    image, size = tissue.image(positions), settings["crop"]
    truth = image[:, top : top + rows * size, left : left + cols * size]
    shown = choose_channels(accessions, wanted, truth.std(axis=(1, 2)))
    mask, guess = reconstruct_region(
        model, image, accessions, shown, region, strategy, settings, seed
    )
    markers = [tissue.markers[positions[channel]] for channel in shown]
    quantiles = cohort.standardization("image_level_upper_quantiles")
    return {
        "truth": truth[shown],
        "mask": mask,
        "guess": guess,
        "markers": np.array(markers),
        "mean": cohort.standardization("global_level_means")[markers].to_numpy()[0],
        "std": cohort.standardization("global_level_stds")[markers].to_numpy()[0],
        "quantile": quantiles.loc[tissue_id, markers].to_numpy(),
        "where": np.array([cohort.id, tissue_id, str(top), str(left)]),
    }


def accessions_of_genes(table):
    """Return gene name -> accessions from the marker table; one gene may have isoforms."""
    proteins = table.dropna(subset=["gene", "uniprot"])
    return proteins.groupby("gene")["uniprot"].agg(lambda ids: sorted(set(ids))).to_dict()


def main(snakemake):
    """Write one npz per strategy; an empty one when no test crop was scored."""
    settings = snakemake.params.settings
    model = open_embedder(
        snakemake.wildcards.model,
        snakemake.params.model_folder,
        snakemake.input.embeddings,
        settings,
        snakemake.params.device,
    )
    cohorts = [CohortFiles(folder) for folder in snakemake.params.cohort_folders]
    scores = {
        cohort.id: pd.read_parquet(path)
        for cohort, path in zip(cohorts, snakemake.input.scores, strict=True)
    }
    scored = [cohort for cohort in cohorts if scores[cohort.id]["r"].notna().any()]
    panels = {cohort.id: cohort.accessions() for cohort in scored}
    genes = accessions_of_genes(pd.read_csv(snakemake.input.markers))
    for strategy in STRATEGIES:
        shown = snakemake.params.examples[strategy]
        wanted = [accession for gene in shown for accession in genes.get(gene, [])]
        arrays = {}
        if scored:
            chosen = choose_cohort(panels, wanted)
            cohort = next(c for c in scored if c.id == chosen)
            region = choose_region(
                scores[chosen], strategy, cohort.shapes(), settings["crop"], snakemake.params.side
            )
            seed = snakemake.params.seeds[0]
            arrays = example(model, cohort, region, strategy, wanted, settings, seed)
            log.info("%s: %s of %s, %s", strategy, region, chosen, list(arrays["markers"]))
        np.savez_compressed(snakemake.output[strategy], **arrays)


if __name__ == "__main__":
    run(main, globals())
