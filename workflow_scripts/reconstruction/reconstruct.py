"""How well a model fills in hidden patches of one cohort's test tissues (Results, Fig. 2)."""

from collections import defaultdict
from itertools import islice

import numpy as np
import pandas as pd

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.correlation import MOMENTS, moments, pearson
from workflow_scripts.common.crops import tissue_grid
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.job import log, run
from workflow_scripts.reconstruction.evaluation import Baselines, masking_tasks, pixel_mask

KEYS = ["tissue_id", "patient_id", "strategy", "seed", "marker", "accession", "predictor"]
SCORES = ["tissue_id", "row", "col", "strategy", "r", "spread"]


def evaluate_crop(model, baselines, crop, name, accessions, settings, seeds):
    """Yield (task, channel, predictor, moments [6]) over the hidden pixels of one crop."""
    grid = settings["crop"] // settings["patch"]
    tasks = masking_tasks(name, accessions, grid, settings["mask_ratio"], seeds)
    while part := list(islice(tasks, settings["batch"])):
        masks = np.stack([task.mask for task in part])
        guesses = model.reconstruct([crop] * len(part), accessions, masks)
        for task, mask, guess in zip(part, masks, guesses, strict=True):
            hidden = pixel_mask(mask, settings["patch"])
            plain = baselines.guess(task, crop, hidden)
            for i, channel in enumerate(task.channels):
                where = hidden[channel]
                truth = crop[channel][where]
                yield task, channel, "model", moments(truth, guess[channel][where])
                yield task, channel, "baseline", moments(truth, plain[i][where])


def evaluate_tissue(model, baselines, tissue, positions, settings, seeds, min_coverage):
    """Return sums per strategy, seed, channel and predictor, and the mean r of every crop."""
    accessions = [tissue.accessions[i] for i in positions]
    image, size = tissue.image(positions), settings["crop"]
    sums, scores = defaultdict(lambda: np.zeros(len(MOMENTS))), []
    for row, col in tissue_grid(tissue.tissue_mask(), size, min_coverage):
        crop = image[:, row : row + size, col : col + size]
        name = f"{tissue.id} {row} {col}"
        r_of = defaultdict(list)
        for task, channel, predictor, total in evaluate_crop(
            model, baselines, crop, name, accessions, settings, seeds
        ):
            sums[task.strategy, task.seed, channel, predictor] += total
            if predictor == "model" and task.seed in (None, seeds[0]):
                r_of[task.strategy].append(pearson(total))
        for strategy, values in r_of.items():
            values = [r for r in values if not np.isnan(r)]
            r, spread = np.mean(values) if values else np.nan, crop.std(axis=(1, 2)).mean()
            scores.append((tissue.id, row, col, strategy, r, spread))
    markers, patient = [tissue.markers[i] for i in positions], tissue.patient_id
    rows = [
        (tissue.id, patient, strategy, seed, markers[c], accessions[c], predictor, *total)
        for (strategy, seed, c, predictor), total in sums.items()
    ]
    return rows, scores


def main(snakemake):
    """Write the sums, from which every score and interval follows, and the score of each crop."""
    settings = snakemake.params.settings
    min_coverage = snakemake.params.min_coverage
    cohort = CohortFiles(snakemake.params.cohort_folder)
    model = open_embedder(
        snakemake.wildcards.model,
        snakemake.params.model_folder,
        snakemake.input.embeddings,
        settings,
        snakemake.params.device,
    )
    rows, scores, baselines_of = [], [], {}
    for tissue in cohort.tissues("test"):
        positions, left_out = model.usable(tissue.accessions)
        panel = tuple(tissue.markers)
        if panel not in baselines_of:
            log.info("%s: %d channels; left out: %s", cohort.id, len(positions), left_out or "none")
            accessions = [tissue.accessions[i] for i in positions]
            size = settings["crop"]
            baselines_of[panel] = Baselines(
                cohort, positions, accessions, size, min_coverage, tissue.markers
            )
        seeds, baselines = snakemake.params.seeds, baselines_of[panel]
        tissue_rows, tissue_scores = evaluate_tissue(
            model, baselines, tissue, positions, settings, seeds, min_coverage
        )
        rows, scores = rows + tissue_rows, scores + tissue_scores
        log.info("%s: %d rows of sums", tissue.id, len(tissue_rows))
    table = pd.DataFrame(rows, columns=[*KEYS, *MOMENTS]).astype({"seed": "Int64"})
    table.to_parquet(snakemake.output.moments, index=False)
    pd.DataFrame(scores, columns=SCORES).to_parquet(snakemake.output.scores, index=False)


if __name__ == "__main__":
    run(main, globals())
