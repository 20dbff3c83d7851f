"""Cell types carried from one cohort to another by a Random Forest (Methods, "Label transfer")."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.common.cell_types import balanced, fit_forest, labelled_cells
from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.job import log, run
from workflow_scripts.common.tokens import Rows, read_tokens

COLUMNS = ["tissue_id", "cell_id", "patient_id", "truth", "predicted"]


def markers_of(folders):
    """Return the shared accessions and the token columns of both cohorts (None: all)."""
    facts = Path(folders[0]).parent / "facts.json"
    named = [Path(folder) / "accessions.json" for folder in folders]
    if not named[0].exists():
        return json.loads(facts.read_text())["markers"], [None, None]
    first, second = (json.loads(path.read_text()) for path in named)
    shared = [accession for accession in dict.fromkeys(first) if accession in set(second)]
    return shared, [[names.index(a) for a in shared] for names in (first, second)]


def why_not(source, target):
    """Return why labels cannot be transferred between tables of labelled cells, or None."""
    if source["truth"].nunique() < 2:
        return "fewer than two types among the labelled train cells of the source"
    if not target["truth"].isin(set(source["truth"])).any():
        return "no cell of the target has a label that the source has"
    return None


def transfer(arrays, columns, source, target, settings, seed, threads):
    """Return predicted types of the `target` rows, learnt from a balanced draw of `source`."""
    train = balanced(source, seed)
    parts = [slice(None) if part is None else part for part in columns]
    tokens = np.concatenate([block[:, parts[0]] for block in Rows(arrays[0], train["position"])])
    forest = fit_forest(
        tokens, train["truth"].to_numpy(), settings["trees"], settings["depth"], seed, threads
    )
    blocks = Rows(arrays[1], target["position"])
    return np.concatenate([forest.predict(block[:, parts[1]]) for block in blocks]), len(train)


def labelled(cohort_folder, tokens, label, classes):
    """Return the labelled cells of a cohort and its token array; labels renamed by `classes`."""
    index, array = read_tokens(tokens, "cells")
    cells = pd.read_parquet(Path(cohort_folder) / "metadata/cells.parquet")
    if label not in cells or array is None:
        return pd.DataFrame(columns=[*COLUMNS, "split", "position"]), array
    cells[label] = cells[label].map(lambda kind: classes.get(kind, kind), na_action="ignore")
    return labelled_cells(index, cells, CohortFiles(cohort_folder).table, label), array


def attempt(params, threads):
    """Return (cells with predictions, facts); without a transfer, no cells and the reason."""
    settings, empty = params.settings, pd.DataFrame(columns=COLUMNS)
    folders = [Path(params.tokens) / Path(folder).name for folder in params.cohort_folders]
    markers, columns = markers_of(folders)
    if len(markers) < settings["fewest_markers"]:
        reason = f"{len(markers)} shared markers, fewer than {settings['fewest_markers']}"
        return empty, {"status": f"not run: {reason}"}
    names = (settings["label"], {}), (settings["target_label"], settings["classes"])
    (source, first), (target, second) = (
        labelled(cohort, tokens, *name)
        for cohort, tokens, name in zip(params.cohort_folders, folders, names, strict=True)
    )
    source = source[source["split"] == "train"]
    reason = why_not(source, target)
    if reason:
        return empty, {"status": f"not run: {reason}"}
    predicted, drawn = transfer(
        (first, second), columns, source, target, settings, params.seed, threads
    )
    learnt, met = set(source["truth"]), set(target["truth"])
    facts = {"status": "done", "converged": True, "train_cells": drawn, "markers": markers}
    facts |= {"unlearned": sorted(met - learnt), "unscored": sorted(learnt - met)}
    return target.assign(predicted=predicted)[COLUMNS], facts


def main(snakemake):
    """Predict every labelled cell of the target; where that is impossible, write the reason."""
    table, facts = attempt(snakemake.params, snakemake.threads)
    log.info("%s: %s", snakemake.wildcards.model, facts)
    table.to_parquet(snakemake.output.cells, index=False)
    Path(snakemake.output.facts).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    run(main, globals())
