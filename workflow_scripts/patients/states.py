"""Cells as phenotypic states, patients as proportions of them ("Tissue structure-based risk ...").

Tokens stay on disk: they are read in blocks, once per pass for all partitions that are fitted.
"""

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans, MiniBatchKMeans, kmeans_plusplus

SAMPLE = 100  # cells per state, from which its first centre is drawn
BATCH = 4096  # cells of an update


def blocks(array, keep, size, rng=None):
    """Yield (positions, tokens [n, D]) of the rows that `keep` [N] (bool) selects.

    `size` rows of the array are read at a time; in order, or with `rng` in random order.
    """
    starts = np.arange(0, len(keep), size)
    for start in starts if rng is None else rng.permutation(starts):
        places = start + np.flatnonzero(keep[start : start + size])
        if len(places):
            yield places, np.asarray(array[start : start + size])[places - start]


def fit_states(array, keep, partitions, size, passes):
    """Return a fitted MiniBatchKMeans for each (states, seed) of `partitions`.

    All start from k-means++ on a random sample of cells and see every cell `passes` times, in
    batches drawn from a block of `size` rows. Memory: a block, the samples and the centres.
    """
    chosen = np.flatnonzero(keep)
    models = {}
    for states, seed in partitions:
        rng = np.random.default_rng(seed)
        drawn = np.zeros(len(keep), dtype=bool)
        drawn[rng.choice(chosen, min(len(chosen), SAMPLE * states), replace=False)] = True
        sample = np.concatenate([tokens for _, tokens in blocks(array, drawn, size)])
        centres, _ = kmeans_plusplus(sample, states, random_state=seed)
        # Cells of a tissue are alike and come together: a centre that waits for its own is not one
        # to be placed anew, so reassignment is off.
        models[states, seed] = MiniBatchKMeans(
            states,
            init=centres,
            n_init=1,
            batch_size=BATCH,
            reassignment_ratio=0,
            random_state=seed,
        )
    for turn in range(passes):
        rng = np.random.default_rng([turn, len(chosen)])
        for _, tokens in blocks(array, keep, size, rng):
            tokens = tokens[rng.permutation(len(tokens))]
            for start in range(0, len(tokens), BATCH):
                for model in models.values():
                    model.partial_fit(tokens[start : start + BATCH])
    return models


def assign_states(array, keep, models, size):
    """Return the state of each kept cell as an array [kept] for each of `models`."""
    found = {key: [] for key in models}
    for _, tokens in blocks(array, keep, size):
        for key, model in models.items():
            found[key].append(model.predict(tokens).astype(np.int32))
    return {key: np.concatenate(parts) for key, parts in found.items()}


def proportions(patients, states, count=None):
    """Return the share of each patient's cells in each state, a table by patient, rows sum to 1.

    `patients`, `states` [cells]; `count`: states 0 to count - 1, else those that occur.
    """
    table = pd.crosstab(np.asarray(patients), np.asarray(states))
    if count is not None:
        table = table.reindex(columns=range(count), fill_value=0)
    return table.div(table.sum(axis=1), axis=0)


def patient_groups(shares, groups, seed):
    """Return the k-means group 0 to groups - 1 of each patient [patients]."""
    found = KMeans(groups, n_init=10, random_state=seed).fit_predict(shares)
    return pd.Series(found, index=shares.index)
