"""A linear probe on cell tokens: how well they tell cell types (Methods, "Cell typing"; D8)."""

import warnings

import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from workflow_scripts.common.job import log, run
from workflow_scripts.common.tokens import read_tokens

COLUMNS = ["patient_id", "truth", "predicted", "cells"]


def fit_probe(tokens, labels, regularisation, max_iterations):
    """Fit multinomial logistic regression with summed loss and L2; return (model, converged).

    `tokens` [n, D] are taken as they are: no scaling, no resampling; the intercept is free.
    """
    probe = LogisticRegression(C=1 / regularisation, max_iter=max_iterations, tol=1e-5)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        probe.fit(tokens, labels)
    return probe, not any(issubclass(w.category, ConvergenceWarning) for w in caught)


def labelled_cells(index, cells, tissues, label):
    """Return the index rows of cells with a label, with `label`, `patient_id` and `split`."""
    labels = cells[["tissue_id", "cell_id", label]].dropna().rename(columns={label: "truth"})
    where = tissues[["tissue_id", "patient_id", "split"]]
    return index[["tissue_id", "cell_id", "position"]].merge(labels).merge(where)


def types_missing(cells, others):
    """Return the types of `cells` that none of the `others` has."""
    return sorted(set(cells["truth"]) - set(others["truth"]))


def confusion(cells, predicted):
    """Return how many cells of each patient and type were taken for which type."""
    table = cells[["patient_id", "truth"]].assign(predicted=predicted)
    return table.value_counts().rename("cells").reset_index()[COLUMNS]


def main(snakemake):
    """Train on the train split's cells, count on the test split's; empty when there are none."""
    files, params = snakemake.input, snakemake.params
    index, tokens = read_tokens(files.embeddings, "cells")
    cells = labelled_cells(
        index, pd.read_parquet(files.cells), pd.read_parquet(files.tissues), params.label
    )
    train, test = (cells[cells["split"] == split] for split in ("train", "test"))
    log.info("%d labelled train and %d test cells", len(train), len(test))
    unlearned, unscored = types_missing(test, train), types_missing(train, test)
    if unlearned:
        log.warning("F1 of 0, as no train cell has the type: %s", ", ".join(unlearned))
    if unscored:
        log.warning("not scored, as no test cell has the type: %s", ", ".join(unscored))
    table = pd.DataFrame(columns=[*COLUMNS, "converged", "unlearned"])
    if train["truth"].nunique() > 1 and len(test):
        train_tokens, test_tokens = (
            tokens.oindex[part["position"].to_numpy(dtype=int)] for part in (train, test)
        )
        probe, converged = fit_probe(
            train_tokens, train["truth"], params.regularisation, params.max_iterations
        )
        log.info("converged: %s, iterations %s", converged, probe.n_iter_.tolist())
        table = confusion(test, probe.predict(test_tokens)).assign(converged=converged)
        table["unlearned"] = table["truth"].isin(unlearned)
    table.to_parquet(snakemake.output.confusion, index=False)


if __name__ == "__main__":
    run(main, globals())
