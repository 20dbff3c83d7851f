"""How far a query is from its closest match in other terms than tokens (Fig. 4i, 4j).

In Fig. 4i: the L1 distance of cell-type proportions; in Fig. 4j: the sliced Wasserstein distance of
pixels. Random retrieval needs no draw: its expectation is the mean over all allowed matches.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pyarrow.parquet import read_schema

from workflow_scripts.common.figures import PALETTE, colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.labels import published
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.common.tasks import tissues_of
from workflow_scripts.retrieval import matches as m

UNITS = {
    "composition": "L1 distance of\ncell-type proportions",
    "raw": "sliced Wasserstein\ndistance (counts)",
    "standardised": "sliced Wasserstein\ndistance (standardised)",
}


def composition(cells, label, ids):
    """Return the proportions of the classes of `label` in each tissue, [n, classes].

    A tissue without a labelled cell is all NaN.
    """
    counts = pd.crosstab(cells["tissue_id"], cells[label])
    counts = counts.reindex(ids).to_numpy(float)
    return counts / counts.sum(axis=1, keepdims=True)


def composition_distances(proportions):
    """Return the L1 distance of every pair of proportion vectors, [n, n]."""
    return np.abs(proportions[:, None] - proportions).sum(axis=2)


def score(tables, tissues, distances, repeats, seed):
    """Return a tidy table: per exclusion, kind of distance and model the mean over queries.

    `tables`: model -> match table; `distances`: kind -> [n, n], NaN where a tissue has none.
    """
    rows, patients = [], tissues["patient_id"].to_numpy(str)
    for exclude in m.EXCLUDE:
        allowed = m.eligible_pairs(tissues, exclude)
        for kind, matrix in distances.items():
            chance = np.ma.masked_invalid(np.where(allowed, matrix, np.nan)).mean(axis=1)
            chance = chance.filled(np.nan)
            for model, table in {**tables, "random": None}.items():
                values = chance
                if table is not None:
                    nearest = m.found_tissues(table, tissues, exclude)[:, 0]
                    values = np.where(nearest >= 0, matrix[np.arange(len(matrix)), nearest], np.nan)
                known = ~np.isnan(values)
                low, high = m.patient_interval(values[known], patients[known], repeats, seed)
                rows.append(
                    {
                        "exclude": exclude,
                        "kind": kind,
                        "model": model,
                        "distance": values[known].mean() if known.any() else np.nan,
                        "low": low,
                        "high": high,
                        "queries": int(known.sum()),
                        "patients": len(set(patients[known])),
                    }
                )
    return pd.DataFrame(rows)


def summarise(table, target, kind, model, weights, seed):
    """Return the entries of numbers.json, the statement's among them.

    C061: the model's distance is the lowest; C062: its rank among the models, the lowest first.
    """
    numbers = {}
    for row in table.itertuples():
        key = f"{row.kind}_{row.model}_exclude_{row.exclude}"
        numbers[key] = number(
            row.distance,
            row.low,
            row.high,
            n=row.patients,
            seeds=[seed],
            weights=weights.get(row.model),
            status="done" if np.isfinite(row.distance) else "not run: no query has a distance",
        )
    rows = table[(table["exclude"] == m.HEADLINE) & (table["kind"] == kind)].set_index("model")
    missing = [rival for rival in m.RIVALS if rival not in rows.index]
    (claim,) = target["claims"]
    if missing:
        absent = " and ".join(map(name, missing))
        numbers[claim] = not_run(f"needs {absent}, which this study does not run")
        return numbers
    place = int((rows.loc[list(m.RIVALS), "distance"] < rows.loc[model, "distance"]).sum()) + 1
    numbers[claim] = number(
        place if kind == "raw" else place == 1,
        n=int(rows.loc[model, "patients"]),
        seeds=[seed],
        weights=weights.get(model),
    )
    return numbers


def draw(table):
    """Return the figure: a panel per kind of distance, a point with interval per model."""
    table = table[table["exclude"] == m.HEADLINE]
    kinds = list(dict.fromkeys(table["kind"]))
    figure, axes = plt.subplots(
        1, len(kinds), figsize=figsize(89, 55), squeeze=False, layout="constrained"
    )
    for axis, kind in zip(axes[0], kinds, strict=True):
        rows = table[table["kind"] == kind].set_index("model")
        random = rows.loc["random"]
        rows = rows.drop("random")
        for x, (model, row) in enumerate(rows.iterrows()):
            shade = colour("models", model if model in PALETTE["models"] else "virtues")
            if row["low"] is not None:
                axis.vlines(x, row["low"], row["high"], color=shade, lw=0.8)
            axis.plot(x, row["distance"], "o", color=shade)
        axis.axhline(random["distance"], ls=":", lw=0.6, color="0.4")
        axis.annotate(
            "random",
            (1, random["distance"]),
            xycoords=("axes fraction", "data"),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            fontsize=5,
        )
        axis.set_xticks(range(len(rows)), map(name, rows.index), rotation=45, ha="right")
        axis.set(xlim=(-0.6, len(rows) - 0.4), ylabel=UNITS[kind])
        tops = pd.concat([rows["distance"], rows["high"].dropna().astype(float)])
        axis.set_ylim(0, 1.05 * np.nanmax([*tops, random["distance"]]))
    return figure


def main(snakemake):
    """Measure every model's closest matches."""
    style()
    params, files = snakemake.params, snakemake.input
    tables = m.read_matches(files.matches)
    weights = {Path(path).parent.name: weights_of(path) for path in files.metrics}
    with np.load(files.distances) as file:
        ids, distances = file["tissues"], {k: file[k] for k in ("raw", "standardised")}
    tissues = tissues_of(params.cohort_folder).loc[ids]
    if params.kind == "composition":
        label = published(read_schema(files.cells).names, params.label)
        cells = pd.read_parquet(files.cells, columns=["tissue_id", label])
        proportions = composition(cells, label, ids)
        distances = {"composition": composition_distances(proportions)}
    reason = f"no tissue of {params.cohort} holds the grid of crops and has a class"
    numbers = {claim: not_run(reason) for claim in params.target["claims"]}
    figure, table, status = None, None, f"not run: {reason}"
    if len(tissues):
        table = score(tables, tissues, distances, params.bootstrap, params.seed)
        numbers = summarise(table, params.target, params.kind, params.model, weights, params.seed)
        figure, status = draw(table), "done"
        log.info("%d tissues, %d models", len(tissues), len(tables))
    folder, target = Path(snakemake.output.numbers).parent, params.target
    save_target(
        folder, target["id"], figure, table, numbers, target["caption"], params.simulated, status
    )


if __name__ == "__main__":
    run(main, globals())
