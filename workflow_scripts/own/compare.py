"""Cell types by transfer from the labelled cohort, and the most similar reference cases."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from workflow_scripts.common.cell_types import balanced, fit_forest, labelled_cells
from workflow_scripts.common.job import log, run
from workflow_scripts.common.matching import closest, wasserstein
from workflow_scripts.common.staging import staged
from workflow_scripts.common.tokens import Rows, read_tokens
from workflow_scripts.own.embed_references import FACTS, OWN, REFERENCE

CELLS = ["tissue_id", "cell_id", "cell_type", "confidence"]
CASES = ["tissue_id", "rank", "match", "distance"]


def transfer(folder, reference, label, settings, seed, threads):
    """Return (own cells with `CELLS`, facts) by a forest on the reference's train cells.

    Its macro F1 on the reference's own test cells says what to expect at best. Without a transfer
    there are no cells, and the facts say why. Tokens are read in blocks, never all at once.
    """
    index, tokens = read_tokens(folder / OWN, "cells")
    known, theirs = read_tokens(folder / REFERENCE, "cells")
    empty = pd.DataFrame(columns=CELLS)
    if tokens is None or tokens.shape[0] == 0:
        return empty, {"reason": "the cohort has no cell masks, and so no cells"}
    metadata = Path(reference) / "metadata"
    cells, tissues = (pd.read_parquet(metadata / f"{t}.parquet") for t in ("cells", "tissues"))
    if label not in cells or theirs is None:
        return empty, {"reason": f"{Path(reference).name} has no cells with a {label}"}
    labelled = labelled_cells(known, cells, tissues, label)
    train, test = (labelled[labelled["split"] == split] for split in ("train", "test"))
    if train["truth"].nunique() < 2:
        return empty, {"reason": f"{Path(reference).name} has fewer than two kinds of {label}"}
    drawn = balanced(train, seed)
    forest = fit_forest(
        np.concatenate(list(Rows(theirs, drawn["position"]))),
        drawn["truth"].to_numpy(),
        settings["trees"],
        settings["depth"],
        seed,
        threads,
    )
    votes = map(forest.predict_proba, Rows(tokens, index["position"]))
    best, most = zip(*((block.argmax(axis=1), block.max(axis=1)) for block in votes), strict=True)
    answer = index[["tissue_id", "cell_id"]].assign(
        cell_type=forest.classes_[np.concatenate(best)], confidence=np.concatenate(most)
    )
    facts = {"types": sorted(forest.classes_), "train_cells": len(drawn), "f1": None}
    if len(test):
        guessed = np.concatenate([*map(forest.predict, Rows(theirs, test["position"]))])
        facts["f1"] = float(f1_score(test["truth"], guessed, average="macro"))
        facts |= {"test_cells": len(test), "test_patients": int(test["patient_id"].nunique())}
    return answer[CELLS], facts


def similar(folder, tissues, references, cases, same_cohort):
    """Return (table of `CASES`, facts): the closest reference tissues by 2-Wasserstein distance.

    `tissues`, `references`: tables of tissues. A tissue is compared by as many central niches as
    both have; within one cohort other images of the patient are left out.
    """
    with np.load(folder / f"{OWN}.npz") as file:
        mine = {name: file[name] for name in file.files}
    with np.load(folder / f"{REFERENCE}.npz") as file:
        theirs = {name: file[name] for name in file.files}
    patient_of = references.set_index("tissue_id")["patient_id"]
    rows, small = [], 0
    for tissue, patient in zip(tissues["tissue_id"], tissues["patient_id"], strict=True):
        grids = [int(name.rsplit(" ", 1)[1]) for name in mine if name.rsplit(" ", 1)[0] == tissue]
        if not grids:
            small += 1
            continue
        grid = max(grids)
        others = [o for o in references["tissue_id"] if f"{o} {grid}" in theirs]
        query = mine[f"{tissue} {grid}"]
        distances = np.array([[wasserstein(query, theirs[f"{o} {grid}"]) for o in others]])
        allowed = np.array([[not same_cohort or patient_of[o] != patient for o in others]])
        if not others:
            continue
        found = closest(distances, allowed, cases)[0]
        rows += [
            (tissue, rank, others[place], distances[0, place])
            for rank, place in enumerate(found, 1)
            if place >= 0
        ]
    facts = {"tissues": len(tissues), "small": small, "references": len(references)}
    return pd.DataFrame(rows, columns=CASES), facts


def main(snakemake):
    """Write both tables and what is known of them; one that cannot be is empty, with its reason."""
    params, files, out = snakemake.params, snakemake.input, snakemake.output
    folder = Path(files.tokens)
    facts = json.loads((folder / FACTS).read_text())
    cells, cases = pd.DataFrame(columns=CELLS), pd.DataFrame(columns=CASES)
    for kind, found in facts.items():
        reference = params.references[kind]
        if not (folder / kind).exists():
            few = f"{len(found['markers'])} markers are shared with {found['cohort']}"
            found["reason"] = f"{few}, fewer than {params.settings['fewest_markers']}"
        elif kind == "types":
            cells, more = transfer(
                folder / kind,
                reference,
                params.settings["label"],
                params.settings,
                params.seed,
                snakemake.threads,
            )
            found |= more
        else:
            pair = (params.cohort_folder, reference)
            tables = (pd.read_parquet(Path(f) / "metadata/tissues.parquet") for f in pair)
            same = found["cohort"] == snakemake.wildcards.cohort
            cases, more = similar(folder / kind, *tables, params.cases, same)
            found |= more
            if cases.empty:
                found["reason"] = "no tissue is as large as a crop of the model"
    log.info("%d cells typed, %d similar cases", len(cells), len(cases))
    with staged(out.cells, out.cases, out.facts) as parts:
        cells.to_parquet(parts[0], index=False)
        cases.to_parquet(parts[1], index=False)
        parts[2].write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    run(main, globals())
