"""One test crop per masking strategy, chosen by rule, with what a model makes of it (D30)."""

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


def choose_crop(scores, strategy):
    """Return (tissue_id, row, col) of the crop of median score; None when nothing was scored."""
    scores = scores[(scores["strategy"] == strategy) & scores["r"].notna()].sort_values("r")
    if scores.empty:
        return None
    crop = scores.iloc[len(scores) // 2]
    return crop["tissue_id"], int(crop["row"]), int(crop["col"])


def example(model, cohort, where, strategy, wanted, settings, seed):
    """Return the arrays of one example: truth, mask, guess of up to four channels, and units."""
    tissue_id, row, col = where
    tissue = next(t for t in cohort.tissues("test") if t.id == tissue_id)
    positions, _ = model.usable(tissue.accessions)
    accessions = [tissue.accessions[i] for i in positions]
    size = settings["crop"]
    crop = tissue.image(positions)[:, row : row + size, col : col + size]
    shown = choose_channels(accessions, wanted, crop.std(axis=(1, 2)))
    grid = size // settings["patch"]
    masks, guesses = {}, {}
    name = f"{tissue.id} {row} {col}"
    for task in masking_tasks(name, accessions, grid, settings["mask_ratio"], [seed]):
        scored = [channel for channel in shown if channel in task.channels]
        if task.strategy == strategy and scored:
            guess = model.reconstruct([crop], accessions, task.mask[None])[0]
            masks |= {channel: task.mask[channel] for channel in scored}
            guesses |= {channel: guess[channel] for channel in scored}
    markers = [tissue.markers[positions[channel]] for channel in shown]
    quantiles = cohort.standardization("image_level_upper_quantiles")
    return {
        "truth": crop[shown],
        "mask": np.stack([masks[channel] for channel in shown]),
        "guess": np.stack([guesses[channel] for channel in shown]),
        "markers": np.array(markers),
        "mean": cohort.standardization("global_level_means")[markers].to_numpy()[0],
        "std": cohort.standardization("global_level_stds")[markers].to_numpy()[0],
        "quantile": quantiles.loc[tissue_id, markers].to_numpy(),
        "where": np.array([cohort.id, tissue_id, str(row), str(col)]),
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
            where = choose_crop(scores[chosen], strategy)
            seed = snakemake.params.seeds[0]
            arrays = example(model, cohort, where, strategy, wanted, settings, seed)
            log.info("%s: %s of %s, %s", strategy, where, chosen, list(arrays["markers"]))
        np.savez_compressed(snakemake.output[strategy], **arrays)


if __name__ == "__main__":
    run(main, globals())
