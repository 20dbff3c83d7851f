"""The closest tissues of every tissue by exact 2-Wasserstein distance between niche tokens."""

import numpy as np
import pandas as pd

from workflow_scripts.common.job import log, run
from workflow_scripts.common.staging import staged
from workflow_scripts.common.tasks import tissues_of
from workflow_scripts.retrieval.distances import wasserstein_matrix
from workflow_scripts.retrieval.matches import EXCLUDE, TOP, closest, eligible_pairs


def match_table(ids, distances, tissues):
    """Return one row per exclusion, query and rank: the match and its distance."""
    rows = []
    for exclude in EXCLUDE:
        found = closest(distances, eligible_pairs(tissues, exclude))
        for query, matches in enumerate(found):
            rows += [
                (exclude, ids[query], rank, ids[match], distances[query, match])
                for rank, match in enumerate(matches, 1)
                if match >= 0
            ]
    return pd.DataFrame(rows, columns=["exclude", "query", "rank", "match", "distance"])


def main(snakemake):
    """Match all tissues with each other."""
    with np.load(snakemake.input.tokens) as file:
        ids, tokens = file["tissues"], file["tokens"]
    distances = wasserstein_matrix(tokens)
    table = match_table(ids, distances, tissues_of(snakemake.params.cohort_folder).loc[ids])
    log.info(
        "%d tissues, %d pairs, %d matches of rank 1 to %d",
        len(ids),
        len(ids) * (len(ids) - 1) // 2,
        len(table),
        TOP,
    )
    with staged(snakemake.output.matches, snakemake.output.distances) as (matches, part):
        table.to_parquet(matches, index=False)
        with part.open("wb") as file:
            np.savez(file, tissues=ids, distances=distances.astype(np.float32))


if __name__ == "__main__":
    run(main, globals())
