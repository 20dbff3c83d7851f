"""Whether the three closest tissues share a query's clinical classes (Fig. 4h)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.common.figures import PALETTE, colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.common.tasks import task_classes, tissues_of
from workflow_scripts.retrieval import matches as m

CLAIMS = {
    "C063": "subtype",
    "C064": "grade",
    "C065": "lymph_node_metastasis",
    "C066": "relapse",
}
DRAWS = 200  # random retrievals over which McNemar's p is also given (T9)


def precision_row(found, random, allowed, classes, patients, repeats, seed):
    """Return one model's figures on one task: precision, what random gives, McNemar's p.

    `random`: the hits of each random retrieval.
    """
    known = pd.notna(classes)
    ours = m.hits(found, classes)
    chance = m.expected_precision(allowed, classes)
    precision = ours.mean(axis=1)
    low, high = m.patient_interval(precision, patients[known], repeats, seed)
    ps = [m.mcnemar(ours, draw) for draw in random]
    return {
        "precision": precision.mean(),
        "low": low,
        "high": high,
        "random": chance[~np.isnan(chance)].mean() if np.isfinite(chance).any() else np.nan,
        "mcnemar_p": ps[0],
        "mcnemar_p_median": float(np.median(ps)),
        "clustered_p": m.clustered_p(precision - chance, patients[known], repeats, seed),
        "queries": int(known.sum()),
        "patients": len(set(patients[known])),
    }


def score(tables, tissues, classes, repeats, seed):
    """Return a tidy table with a row per exclusion, task and model.

    `tables`: model -> its match table; `tissues`: the tissues that were matched; `classes`: task ->
    class of each of them.
    """
    rows = []
    patients = tissues["patient_id"].to_numpy(str)
    for exclude in m.EXCLUDE:
        allowed = m.eligible_pairs(tissues, exclude)
        # Of thousands of tissues a draw takes a second, and no task or model changes it.
        draws = [m.drawn(allowed, seed + draw) for draw in range(DRAWS)]
        for task, labels in classes.items():
            random = [m.hits(draw, labels) for draw in draws]
            for model, table in tables.items():
                found = m.found_tissues(table, tissues, exclude)
                row = precision_row(found, random, allowed, labels, patients, repeats, seed)
                rows.append({"exclude": exclude, "task": task, "model": model} | row)
    return pd.DataFrame(rows)


def summarise(table, model, weights, seed):
    """Return the entries of numbers.json; `model` is the one that the statements are about."""
    numbers = {}
    for row in table.itertuples():
        numbers[f"precision_{row.task}_{row.model}_exclude_{row.exclude}"] = number(
            row.precision,
            row.low,
            row.high,
            n=row.patients,
            seeds=[seed],
            weights=weights.get(row.model),
            careful=(row.random, "expected of random retrieval, in closed form"),
        )
    headline = table[table["exclude"] == m.HEADLINE].set_index(["task", "model"])
    for claim, task in CLAIMS.items():
        if (task, model) not in headline.index:
            numbers[claim] = not_run(f"no tissue has a class of {task}")
            continue
        row = headline.loc[(task, model)]
        careful = None
        if row["clustered_p"] is not None:
            careful = (row["clustered_p"], "patients resampled, against every random draw at once")
        numbers[claim] = number(
            row["mcnemar_p"],
            n=row["patients"],
            seeds=[seed],
            weights=weights.get(model),
            careful=careful,
            reason=f"median over {DRAWS} random draws {row['mcnemar_p_median']:.2g}",
            contrary=row["precision"] < row["random"],
        )
    numbers["C060"] = best_of_all(headline, model, weights, seed)
    return numbers


def best_of_all(headline, model, weights, seed):
    """Return C060: the model retrieves the subtype more often than every rival."""
    missing = [rival for rival in m.RIVALS if ("subtype", rival) not in headline.index]
    if missing or ("subtype", model) not in headline.index:
        absent = " and ".join(name(rival) for rival in missing) or name(model)
        return not_run(f"needs {absent}, which this study does not run")
    subtype = headline.loc["subtype", "precision"]
    best = subtype[model] > subtype[list(m.RIVALS)].max()
    patients = int(headline.loc[("subtype", model), "patients"])
    return number(best, n=patients, seeds=[seed], weights=weights.get(model))


def draw(table):
    """Return the figure: a panel per task, a point with interval per model, dots at chance."""
    table = table[table["exclude"] == m.HEADLINE]
    tasks, models = (list(dict.fromkeys(table[key])) for key in ("task", "model"))
    figure, axes = plt.subplots(
        1, len(tasks), figsize=figsize(183, 52), squeeze=False, sharey=True, layout="constrained"
    )
    for axis, task in zip(axes[0], tasks, strict=True):
        rows = table[table["task"] == task].set_index("model").loc[models]
        axis.annotate("p", (-0.55, 1.02), fontsize=5, style="italic")
        for x, (model, row) in enumerate(rows.iterrows()):
            shade = colour("models", model if model in PALETTE["models"] else "virtues")
            if row["low"] is not None:
                axis.vlines(x, row["low"], row["high"], color=shade, lw=0.8)
            axis.plot(x, row["precision"], "o", color=shade)
            axis.annotate(f"{row['mcnemar_p']:.2g}", (x, 1.02), ha="center", fontsize=5)
        axis.axhline(rows["random"].iloc[0], ls=":", lw=0.6, color="0.4")
        axis.set_title(f"{task.replace('_', ' ')}\nn = {rows['queries'].iloc[0]:,}")
        axis.set_xticks(range(len(models)), map(name, models), rotation=45, ha="right")
        axis.set(xlim=(-0.6, len(models) - 0.4), ylim=(0, 1.1))
    axes[0, 0].set_ylabel("precision of the top 3")
    return figure


def main(snakemake):
    """Score every model that matched tissues; say so where there was none to match."""
    style()
    params, files = snakemake.params, snakemake.input
    tables = m.read_matches(files.matches)
    weights = {Path(path).parent.name: weights_of(path) for path in files.metrics}
    with np.load(files.distances) as file:
        ids = file["tissues"]
    tissues = tissues_of(params.cohort_folder).loc[ids]
    reason = f"no tissue of {params.cohort} holds the grid of crops and has a class"
    numbers = {claim: not_run(reason) for claim in params.target["claims"]}
    figure, table, status = None, None, f"not run: {reason}"
    if len(tissues):
        classes = {
            task: task_classes(tissues, definition, f"{params.cohort}: tasks.{task}").to_numpy()
            for task, definition in params.tasks.items()
        }
        table = score(tables, tissues, classes, params.bootstrap, params.seed)
        numbers, status = summarise(table, params.model, weights, params.seed), "done"
        figure = draw(table)
        log.info("%d tissues, %d tasks, %d models", len(tissues), len(classes), len(tables))
    folder = Path(snakemake.output.numbers).parent
    save_target(
        folder, "fig4h", figure, table, numbers, params.target["caption"], params.simulated, status
    )


if __name__ == "__main__":
    run(main, globals())
