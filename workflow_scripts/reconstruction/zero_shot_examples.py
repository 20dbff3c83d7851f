"""One region of a cohort, filled in by a model that never saw it and by one that did (D30)."""

import numpy as np
import pandas as pd

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.job import log, run
from workflow_scripts.reconstruction.evaluation import STRATEGIES
from workflow_scripts.reconstruction.examples import (
    Region,
    choose_channels,
    choose_region,
    save_examples,
)
from workflow_scripts.reconstruction.panels import accessions_of_genes, seen_accessions

CHANNELS = 7  # of each group: one in Figure 2g and six in the supplement


def choose_groups(accessions, wanted, spread, seen):
    """Return up to seven seen and seven new channels, the `wanted` first in both."""
    known = np.isin(accessions, list(seen))
    order = choose_channels(accessions, wanted, spread, len(accessions))
    return [[c for c in order if known[c] == group][:CHANNELS] for group in (True, False)]


def main(snakemake):
    """Write the examples `<strategy>/<model>`; none without the cohort or a scored crop.

    The region has the median score of the zero-shot model under marker masking.
    """
    params, examples, place = snakemake.params, {}, None
    settings = params.settings
    if not params.absent:
        scores, cohort = pd.read_parquet(*snakemake.input.scores), CohortFiles(params.cohort_folder)
        place = choose_region(scores, "marker", cohort.shapes(), settings["crop"], params.side)
    if place:
        models = {
            name: open_embedder(name, folder, snakemake.input.embeddings, settings, params.device)
            for name, folder in params.model_folders.items()
        }
        region = Region(models["zero_shot"], cohort, place, settings)
        genes = accessions_of_genes(pd.read_csv(snakemake.input.markers))
        wanted = [a for gene in params.examples for a in genes.get(gene, [])]
        groups = choose_groups(
            region.accessions, wanted, region.spread(), seen_accessions(params.seen)
        )
        for strategy in STRATEGIES:
            for name, model in models.items():
                shown = [channel for group in groups for channel in group]
                example = region.example(model, shown, strategy, params.seeds[0])
                new = np.repeat([False, True], [len(group) for group in groups])
                examples[f"{strategy}/{name}"] = example | {"new": new}
        log.info("%s of %s: %d seen, %d new channels", place, cohort.id, *map(len, groups))
    save_examples(snakemake.output.examples, examples)


if __name__ == "__main__":
    run(main, globals())
