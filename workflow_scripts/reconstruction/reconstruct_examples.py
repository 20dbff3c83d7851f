"""One region of a test tissue per cohort and masking strategy, chosen by rule, and filled in."""

import pandas as pd

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.job import log, run
from workflow_scripts.reconstruction.evaluation import STRATEGIES
from workflow_scripts.reconstruction.examples import (
    Region,
    choose_channels,
    choose_cohort,
    choose_region,
    save_examples,
)
from workflow_scripts.reconstruction.panels import accessions_of_genes

CHANNELS = 12  # of a cohort: four in Figure 2 and eight in the supplement


def main(snakemake):
    """Write one file per strategy; the cohort of Figure 2 first, none without a scored crop."""
    params = snakemake.params
    settings, seed = params.settings, params.seeds[0]
    model = open_embedder(
        snakemake.wildcards.model,
        params.model_folder,
        snakemake.input.embeddings,
        settings,
        params.device,
    )
    cohorts = {}
    for folder, path in zip(params.cohort_folders, snakemake.input.scores, strict=True):
        scores, cohort = pd.read_parquet(path), CohortFiles(folder)
        if scores["r"].notna().any():
            cohorts[cohort.id] = cohort, scores
    panels = {cohort.id: cohort.accessions() for cohort, _ in cohorts.values()}
    genes = accessions_of_genes(pd.read_csv(snakemake.input.markers))
    for strategy in STRATEGIES:
        wanted = [a for gene in params.examples[strategy] for a in genes.get(gene, [])]
        first = choose_cohort(panels, wanted) if panels else None
        examples = {}
        for cohort, scores in sorted(cohorts.values(), key=lambda pair: pair[0].id != first):
            place = choose_region(scores, strategy, cohort.shapes(), settings["crop"], params.side)
            if place is None:
                continue
            region = Region(model, cohort, place, settings)
            shown = choose_channels(region.accessions, wanted, region.spread(), CHANNELS)
            examples[cohort.id] = region.example(model, shown, strategy, seed)
            log.info("%s: %s of %s, %d channels", strategy, place, cohort.id, len(shown))
        save_examples(snakemake.output[strategy], examples)


if __name__ == "__main__":
    run(main, globals())
