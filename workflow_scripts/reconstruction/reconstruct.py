"""How well a model fills in hidden patches of one cohort's test tissues (Results, Fig. 2)."""

from collections import defaultdict
from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.crops import tissue_grid
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.job import log, run
from workflow_scripts.reconstruction.evaluation import Baselines, masking_tasks, pixel_mask
from workflow_scripts.reconstruction.metrics import SUMS, hidden_sums, pearson_r, tissue_means

KEYS = ["tissue_id", "patient_id", "strategy", "seed", "marker", "accession", "predictor"]
SCORES = ["tissue_id", "row", "col", "strategy", "r", "spread"]
SCHEMA = pa.schema(
    [(key, pa.int64() if key == "seed" else pa.string()) for key in KEYS]
    + [(name, pa.float64()) for name in SUMS]
)


def evaluate_crop(model, baselines, thresholds, crop, name, accessions, settings, seeds):
    """Yield (task, predictor, sums [len(task.channels), 9]) over the hidden pixels of a crop."""
    grid = settings["crop"] // settings["patch"]
    tasks = masking_tasks(name, accessions, grid, settings["mask_ratio"], seeds)
    while part := list(islice(tasks, settings["batch"])):
        masks = np.stack([task.mask for task in part])
        guesses = model.reconstruct([crop] * len(part), accessions, masks)
        for task, mask, guess in zip(part, masks, guesses, strict=True):
            hidden, scored = pixel_mask(mask, settings["patch"]), task.channels
            plain = baselines.guess(task, crop, hidden)
            for predictor, picture in (("model", guess[scored]), ("baseline", plain)):
                known = crop[scored], picture, hidden[scored], thresholds[scored]
                yield task, predictor, hidden_sums(*known)


def evaluate_tissue(model, baselines, thresholds, tissue, positions, settings, seeds, min_coverage):
    """Return the rows of sums per strategy, seed, channel and predictor, and every crop's mean r.

    `thresholds` [C]: above it a pixel of a channel is positive (D18).
    """
    accessions = [tissue.accessions[i] for i in positions]
    image, size = tissue.image(positions), settings["crop"]
    sums, scores = defaultdict(lambda: np.zeros(len(SUMS))), []
    for row, col in tissue_grid(tissue.tissue_mask(), size, min_coverage):
        crop = image[:, row : row + size, col : col + size]
        name = f"{tissue.id} {row} {col}"
        r_of = defaultdict(list)
        for task, predictor, total in evaluate_crop(
            model, baselines, thresholds, crop, name, accessions, settings, seeds
        ):
            for channel, channel_total in zip(task.channels, total, strict=True):
                sums[task.strategy, task.seed, channel, predictor] += channel_total
            if predictor == "model" and task.seed in (None, seeds[0]):
                r_of[task.strategy] += list(pearson_r(total))
        for strategy, values in r_of.items():
            values = [r for r in values if not np.isnan(r)]
            r, spread = np.mean(values) if values else np.nan, crop.std(axis=(1, 2)).mean()
            scores.append((tissue.id, row, col, strategy, r, spread))
    markers, patient = [tissue.markers[i] for i in positions], tissue.patient_id
    rows = [
        (tissue.id, patient, strategy, seed, markers[c], accessions[c], predictor, *total)
        for (strategy, seed, c, predictor), total in sums.items()
    ]
    return pd.DataFrame(rows, columns=[*KEYS, *SUMS]).astype({"seed": "Int64"}), scores


def stained_alike(cohort, split, panel):
    """Yield the tissues of a split whose channels are `panel`."""
    return (tissue for tissue in cohort.tissues(split) if tuple(tissue.markers) == panel)


def main(snakemake):
    """Write the sums, from which every score and interval follows, and the score of each crop.

    Sums are written tissue by tissue: nothing is kept but the crops' scores.
    """
    settings, seeds = snakemake.params.settings, snakemake.params.seeds
    min_coverage = snakemake.params.min_coverage
    cohort = CohortFiles(snakemake.params.cohort_folder)
    model = open_embedder(
        snakemake.wildcards.model,
        snakemake.params.model_folder,
        snakemake.input.embeddings,
        settings,
        snakemake.params.device,
    )
    scores, judged = [], {}  # panel: baselines and thresholds, from the tissues stained for it
    with pq.ParquetWriter(snakemake.output.moments, SCHEMA) as writer:
        for tissue in cohort.tissues("test"):
            positions, left_out = model.usable(tissue.accessions)
            panel = tuple(tissue.markers)
            if panel not in judged:
                reason = left_out or "none"
                log.info("%s: %d channels; left out: %s", cohort.id, len(positions), reason)
                accessions = [tissue.accessions[i] for i in positions]
                train, test = (stained_alike(cohort, split, panel) for split in ("train", "test"))
                size = settings["crop"]
                judged[panel] = (
                    Baselines(train, positions, accessions, size, min_coverage),
                    tissue_means(test, positions),
                )
            rows, tissue_scores = evaluate_tissue(
                model, *judged[panel], tissue, positions, settings, seeds, min_coverage
            )
            writer.write_table(pa.Table.from_pandas(rows, SCHEMA, preserve_index=False))
            scores += tissue_scores
            log.info("%s: %d rows of sums", tissue.id, len(rows))
    pd.DataFrame(scores, columns=SCORES).to_parquet(snakemake.output.scores, index=False)


if __name__ == "__main__":
    run(main, globals())
