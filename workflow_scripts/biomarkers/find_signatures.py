"""Clusters of pre-treatment cells that tell responders from non-responders (Methods, D13, D14).

Writes who was looked at (patients, and how many each condition left), their cells, the clusters
that are small enough, and the cells and facts of the four signatures. Where the data do not allow
it, tables are empty and the status says why.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.biomarkers.clusters import (
    Clusters,
    leiden_all,
    neighbour_graph,
    small_clusters,
)
from workflow_scripts.biomarkers.patients import choose_tissues
from workflow_scripts.biomarkers.prediction import make_folds, risk_ratios
from workflow_scripts.biomarkers.selection import check_four, choose, judge
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.tasks import tissues_of
from workflow_scripts.common.tokens import read_tokens

CELLS = ["tissue_id", "cell_id", "patient_id", "x", "y", "label", "position"]
LITERAL = 1.0  # no overlap exceeds it: the two best clusters, be they one seen twice


@dataclass
class Found:
    """The signatures of a cohort: rows of cells, facts of each, and all small clusters."""

    cells: pd.DataFrame
    signatures: dict
    facts: dict
    clusters: Clusters


def resolutions(first, last, step):
    """Return the resolutions from `first` to `last`, both included."""
    return np.round(np.arange(first, last + step / 2, step), 6)


def chosen_cells(index, cells, chosen, label):
    """Return the cells of the chosen tissues that have a token: CELLS, and `position` of the token.

    `index`: rows of the tokens; `cells`: the cohort's table, which may leave out some cells of a
    mask; `chosen`: tissues with patient_id. InputError without a cell or without such a label.
    """
    if label not in cells:
        raise InputError(
            f"biomarkers.label: the cells have no label {label!r}; name one of the cohort's file"
        )
    table = cells.rename(columns={label: "label"})[["tissue_id", "cell_id", "x", "y", "label"]]
    table = table.merge(chosen[["patient_id"]], left_on="tissue_id", right_index=True)
    table = table.merge(index[["tissue_id", "cell_id", "position"]], on=["tissue_id", "cell_id"])
    if table.empty:
        raise InputError(
            "biomarkers.cohort: no cell before treatment has a token; embed these tissues"
        )
    return table


def find(tokens, cells, responds, settings, seed, processes=1):
    """Return what was Found in tokens [cells, width] of the table `cells`.

    `responds`: bool by patient. InputError where there are too few patients or clusters.
    """
    responds = responds.sort_index()
    patients, outcome = responds.index.to_numpy(str), responds.to_numpy(bool)
    owners = np.searchsorted(patients, cells["patient_id"].to_numpy(str))
    folds = make_folds(outcome, settings["folds"], settings["repeats"], seed)
    graph = neighbour_graph(tokens, settings["neighbours"], seed)
    log.info("graph of %d cells with %d edges", graph.vcount(), graph.ecount())
    tried = resolutions(*settings["resolutions"])
    labels = leiden_all(graph, tried, settings["iterations"], seed, processes)
    sizes = labels.max(axis=1) + 1
    log.info("%d to %d clusters at %d resolutions", sizes.min(), sizes.max(), len(tried))
    largest = settings["largest_cluster"]
    clusters, members = small_clusters(labels, tried, largest, owners, patients, outcome)
    ranks, cut_points, aurocs, ratios = judge(clusters.shares, outcome, folds)
    chosen, passed = choose(aurocs, ratios, clusters.overlap, settings["overlap"])
    check_four(chosen, ratios, clusters, passed)
    for name, place, one in passed:
        twin = next(other for other, at in chosen.items() if at == one)
        share = clusters.overlap[place, one]
        log.info("%s: a cluster is that of %s (Jaccard %.2f): passed over", name, twin, share)
    facts = describe(clusters, ranks, cut_points, aurocs)
    tables = []
    for name, place in chosen.items():
        own = cells.iloc[members[:, [place]].nonzero()[0]]
        tables.append(own[["tissue_id", "cell_id"]].assign(signature=name))
    literal, _ = choose(aurocs, ratios, clusters.overlap, LITERAL)
    counts = {
        "cells": len(cells),
        "clusters": int(sizes.sum()),
        "small_clusters": len(aurocs),
        "response_clusters": int((ratios > 1).sum()),
        "non_response_clusters": int((ratios < 1).sum()),
        "passed_over": len(passed),
        "literal": {name: facts[place] for name, place in literal.items()},
    }
    signatures = {name: facts[place] for name, place in chosen.items()}
    return Found(pd.concat(tables, ignore_index=True), signatures, counts, clusters)


def describe(clusters, ranks, cut_points, aurocs):
    """Return what signatures.json says of each cluster, a list of dicts."""
    ratios, low, high = risk_ratios(ranks, clusters.responds)
    return [
        {
            "resolution": float(clusters.resolution[place]),
            "cluster": int(clusters.cluster[place]),
            "cells": int(clusters.size[place]),
            "patients": int((clusters.shares[place] > 0).sum()),
            "auroc": float(aurocs[place]),
            "risk_ratio": _finite(ratios[place]),
            "risk_ratio_interval": [_finite(low[place]), _finite(high[place])],
            "cut_points": cut_points[place].tolist(),
            "place": place,
        }
        for place in range(len(aurocs))
    ]


def _finite(value):
    """Return a number that JSON can hold; None for an infinite ratio or one without a value."""
    return float(value) if np.isfinite(value) else None


def nothing():
    """Return what is written where no signature could be looked for."""
    empty = np.empty(0)
    clusters = Clusters(empty, empty, empty, np.empty((0, 0)), np.empty((0, 0)), empty, empty)
    return Found(pd.DataFrame(columns=["tissue_id", "cell_id", "signature"]), {}, {}, clusters)


def main(snakemake):
    """Choose patients, cluster their cells, choose signatures."""
    files, params, output = snakemake.input, snakemake.params, snakemake.output
    tissues = tissues_of(params.cohort_folder)
    cells = pd.DataFrame(columns=CELLS)
    funnel = pd.DataFrame(columns=["condition", "patients", "tissues"])
    found, status = nothing(), "done"
    try:
        chosen, funnel = choose_tissues(
            tissues, params.task, params.visit, params.before, params.patients, params.where
        )
        index, tokens = read_tokens(files.embeddings, "cells")
        cells = chosen_cells(index, pd.read_parquet(files.cells), chosen, params.label)
        last = {"condition": "cells have tokens", "patients": cells["patient_id"].nunique()}
        last["tissues"] = cells["tissue_id"].nunique()
        funnel = pd.concat([funnel, pd.DataFrame([last])], ignore_index=True)
        responds = chosen.groupby("patient_id")["responds"].first()
        responds = responds[responds.index.isin(cells["patient_id"])]
        selected = tokens.oindex[cells["position"].to_numpy(int)]
        found = find(selected, cells, responds, params.settings, params.seed, snakemake.threads)
        log.info("%s", {name: round(one["auroc"], 3) for name, one in found.signatures.items()})
    except InputError as error:
        status = f"not run: {error}"
        log.warning("%s", status)
    found.cells.to_parquet(output.signatures, index=False)
    found.clusters.save(output.clusters)
    cells[CELLS].to_parquet(output.cells, index=False)
    funnel.to_csv(output.funnel, index=False, lineterminator="\n")
    record = {"signatures": found.signatures, "facts": found.facts, "status": status}
    Path(output.facts).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", "utf-8")


if __name__ == "__main__":
    run(main, globals())
