"""A linear probe on cell tokens: how well they tell cell types (Methods, "Cell typing"; D8)."""

import json
from pathlib import Path

import pandas as pd

from workflow_scripts.cells.logistic import fit_logistic
from workflow_scripts.common.cell_types import labelled_cells
from workflow_scripts.common.job import log, run
from workflow_scripts.common.tokens import Rows, read_tokens

COUNTS = ["patient_id", "truth", "predicted", "cells"]
COLUMNS = ["cohort", "label", *COUNTS]


def why_not(cells, tokens, label):
    """Return why labelled `cells` cannot be probed, or None."""
    train, test = (cells[cells["split"] == split] for split in ("train", "test"))
    if tokens is None or not tokens.shape[1]:
        return "the model gives this cohort no cell tokens"
    if cells.empty:
        return f"no cell of the cohort has a {label}"
    if test.empty or train.empty:
        patients = cells["patient_id"].nunique()
        empty = "test" if test.empty else "train"
        return f"no labelled cell in the {empty} split ({patients} labelled patients)"
    if train["truth"].nunique() < 2:
        return f"all train cells are {train['truth'].iloc[0]}"
    return None


def confusion(cells, predicted):
    """Return how many cells of each patient and type were taken for which type."""
    table = cells[["patient_id", "truth"]].assign(predicted=predicted)
    return table.value_counts().rename("cells").reset_index()[COUNTS]


def probe(tokens, cells, settings):
    """Train on the train split's cells and count on the test split's; return (counts, facts)."""
    train, test = (cells[cells["split"] == split] for split in ("train", "test"))
    rows = Rows(tokens, train["position"], settings["memory_mb"] * 1_000_000)
    fitted = fit_logistic(
        rows, train["truth"], settings["regularisation"], settings["max_iterations"]
    )
    table = confusion(test, fitted.predict(Rows(tokens, test["position"])))
    return table, {
        "status": "done",
        "converged": fitted.converged,
        "iterations": fitted.iterations,
        "train_cells": len(train),
        "test_cells": len(test),
        "unlearned": sorted(set(test["truth"]) - set(train["truth"])),
        "unscored": sorted(set(train["truth"]) - set(test["truth"])),
    }


def probe_tasks(tasks, folders, metadata, settings, output):
    """Probe every task and write counts and facts; one that cannot be probed leaves its reason.

    `folders`: cohort -> tokens; `metadata`: cohort -> folder of its tables.
    """
    tables, facts = [pd.DataFrame(columns=COLUMNS)], {}
    for cohort, label in tasks:
        index, tokens = read_tokens(folders[cohort], "cells")
        tables_of = [
            pd.read_parquet(metadata[cohort] / f"{t}.parquet") for t in ("cells", "tissues")
        ]
        known = label in tables_of[0]
        cells = labelled_cells(index, *tables_of, label) if known else index.iloc[:0]
        reason = why_not(cells, tokens, label) if known else f"the cohort has no {label} labels"
        if reason:
            log.warning("%s, %s: not run: %s", cohort, label, reason)
            facts[f"{cohort}/{label}"] = {"status": f"not run: {reason}"}
            continue
        table, found = probe(tokens, cells, settings)
        log.info("%s, %s: %s", cohort, label, found)
        tables.append(table.assign(cohort=cohort, label=label))
        facts[f"{cohort}/{label}"] = found
    pd.concat(tables).to_parquet(output.counts, index=False)
    Path(output.facts).write_text(json.dumps(facts, indent=1) + "\n")


def main(snakemake):
    """Probe every task of one model."""
    files, params = snakemake.input, snakemake.params
    folders = {Path(path).name: path for path in files.embeddings}
    metadata = {Path(path).parents[1].name: Path(path).parent for path in files.cells}
    probe_tasks(params.tasks, folders, metadata, params.settings, snakemake.output)


if __name__ == "__main__":
    run(main, globals())
