"""The closest tissues of every tissue by exact 2-Wasserstein distance between niche tokens."""

import numpy as np
import pandas as pd

from workflow_scripts.common.job import log, run
from workflow_scripts.common.matching import closest
from workflow_scripts.common.staging import staged
from workflow_scripts.common.tasks import tissues_of
from workflow_scripts.retrieval.distances import wasserstein_matrix
from workflow_scripts.retrieval.matches import EXCLUDE, TOP, eligible_pairs


def match_table(ids, distances, tissues):
    """Return one row per exclusion, query and rank: the match and its distance."""
    rows = []
    for exclude in EXCLUDE:
        found = closest(distances, eligible_pairs(tissues, exclude), TOP)
        for query, matches in enumerate(found):
            rows += [
                (exclude, ids[query], rank, ids[match], distances[query, match])
                for rank, match in enumerate(matches, 1)
                if match >= 0
            ]
    return pd.DataFrame(rows, columns=["exclude", "query", "rank", "match", "distance"])


def main(snakemake):
    """Match all tissues with each other, by the tokens of one model after the other."""
    files, tissues = snakemake.output, tissues_of(snakemake.params.cohort_folder)
    jobs = zip(snakemake.input.tokens, files.matches, files.distances, strict=True)
    for source, matches, distances in jobs:
        with np.load(source) as file:
            ids, tokens = file["tissues"], file["tokens"]
        matrix = wasserstein_matrix(tokens)
        table = match_table(ids, matrix, tissues.loc[ids])
        log.info("%s: %d tissues, %d matches up to rank %d", source, len(ids), len(table), TOP)
        with staged(matches, distances) as (table_part, matrix_part):
            table.to_parquet(table_part, index=False)
            with matrix_part.open("wb") as file:
                np.savez(file, tissues=ids, distances=matrix.astype(np.float32))


if __name__ == "__main__":
    run(main, globals())
