"""F1 of a linear probe on cell tokens, per class and on average, for every model (Fig. 3b)."""

from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.cells.scores import Confusion
from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.figures import PALETTE, colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of

# Class shares that the paper states: claim -> cohort, label, words in the name of the class.
SHARES = {
    "C111": ("cords2024", "cell_category", ("vessel",)),
    "C112": ("cords2024", "cell_category", ("t cell",)),
    "C113": ("danenberg2022", "cell_type", ("nk",)),
    "C114": ("danenberg2022", "cell_type", ("b cell",)),
}
NEEDS = {
    "C030": "the comparison with KRONOS is not built yet",
    "C031": "the comparison with CA-MAE is not built yet",
    "C068": "the list of verified images is with the authors",
    "C110": "the comparison with KRONOS and CA-MAE is not built yet",
}


def class_share(labels, words):
    """Return the percentage of labelled cells whose class is called by one of `words`."""
    named = labels.str.lower().str.rstrip("s").isin(words)
    return 100 * named.mean()


def share_numbers(cells):
    """Return the entries of the class shares; `cells`: (cohort, label) -> labels of all cells."""
    numbers = {claim: not_run(reason) for claim, reason in NEEDS.items()}
    for claim, (cohort, label, words) in SHARES.items():
        # A simulated cohort stands for the one whose layout it has.
        labels = cells.get((cohort, label), cells.get((f"sim_{cohort}", label)))
        share = 0.0 if labels is None else class_share(labels, words)
        if share:
            numbers[claim] = number(share, n=len(labels), reason="of all labelled cells")
        else:
            numbers[claim] = not_run(f"no such class among the {label} labels of {cohort}")
    return numbers


def score_rows(task, model, table, repeats, seed):
    """Return the tidy rows of one model on one task: each class, then their mean."""
    scores = Confusion(table)
    draws = resamples(len(scores.patients), repeats, seed)
    per_class = np.array([scores.f1(draw) for draw in draws]).reshape(-1, len(scores.classes))
    per_mean = [scores.macro_f1(draw) for draw in draws]
    rows = [
        (kind, f1, *interval(per_class[:, i]), cells)
        for i, (kind, f1, cells) in enumerate(
            zip(scores.classes, scores.f1(), scores.support(), strict=True)
        )
    ]
    rows.append(("macro-F1", scores.macro_f1(), *interval(per_mean), scores.support().sum()))
    frame = pd.DataFrame(rows, columns=["class", "f1", "low", "high", "test_cells"])
    frame["unlearned"] = frame["class"].isin(table.loc[table["unlearned"], "truth"])
    cohort, label = task
    return frame.assign(
        cohort=cohort,
        label=label,
        model=model,
        test_patients=len(scores.patients),
        converged=bool(table["converged"].all()),
    )


def macro_numbers(table, weights):
    """Return one entry per task and model: macro-F1 with its interval over test patients."""
    numbers = {}
    unlearned = table[table["unlearned"]].groupby(["cohort", "label", "model"])["class"].agg(list)
    for row in table[table["class"] == "macro-F1"].itertuples():
        reasons = [] if row.converged else ["the probe did not converge"]
        for kind in unlearned.get((row.cohort, row.label, row.model), []):
            reasons.append(f"F1 of {kind} is 0, as no train cell has this class")
        numbers[f"macro_f1_{row.cohort}_{row.label}_{row.model}"] = number(
            row.f1,
            row.low,
            row.high,
            n=row.test_patients,
            weights=weights.get(row.model, weights.get(f"{row.model}_{row.cohort}")),
            reason="; ".join(reasons) or None,
        )
    return numbers


def draw(table):
    """Return the figure: a row per task, classes by support, a shape and colour per model."""
    tasks = list(table.groupby(["cohort", "label"], sort=False))
    figure, axes = plt.subplots(
        len(tasks), 1, figsize=figsize(183, 16 + 36 * len(tasks)), squeeze=False, sharey=True
    )
    for axis, ((cohort, label), rows) in zip(axes[:, 0], tasks, strict=True):
        draw_task(axis, rows)
        axis.set_title(f"{name(cohort)}: {label.replace('_', ' ')}", loc="left")
        axis.set_ylabel("F1")
    # A rival is not on every cohort.
    named = [
        pair for axis in axes[:, 0] for pair in zip(*axis.get_legend_handles_labels(), strict=True)
    ]
    legend = {label: handle for handle, label in named}
    figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=4)
    return figure


def draw_task(axis, rows):
    """Draw one task: the mean first, then the classes; a dotted line is a class's share."""
    support = rows.drop_duplicates("class").set_index("class")["test_cells"]
    classes = support.drop("macro-F1").sort_values(ascending=False)
    order = ["macro-F1", *classes.index]
    models = list(dict.fromkeys(rows["model"]))
    shapes = dict(zip(models, cycle("oXs^Dv"), strict=False))
    offsets = np.linspace(-0.18, 0.18, len(models)) if len(models) > 1 else [0.0]
    for model, offset in zip(models, offsets, strict=True):
        ours = rows[rows["model"] == model].set_index("class").loc[order]
        x = np.arange(len(order)) + offset
        shade = colour("models", "virtues" if model not in PALETTE["models"] else model)
        axis.vlines(x, ours["low"].astype(float), ours["high"].astype(float), color=shade, lw=0.6)
        axis.plot(x, ours["f1"], shapes[model], color=shade, label=name(model), clip_on=False)
    share = [np.nan, *(classes / classes.sum())]
    for x, value in enumerate(share):
        axis.plot([x - 0.35, x + 0.35], [value, value], ":", color="0.5", lw=0.6)
    gap = " " if len(order) > 9 else "\n"
    ticks = ["macro-F1", *(f"{kind}{gap}n = {n:,}" for kind, n in classes.items())]
    crowded = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(order) > 9 else {}
    axis.set_xticks(range(len(order)), ticks, **crowded)
    axis.set_ylim(0, 1)


def main(snakemake):
    """Score every task and model that has test cells; say so when none has."""
    style()
    files, params = snakemake.input, snakemake.params
    weights = {Path(path).parent.name: weights_of(path) for path in files.metrics}
    frames, cells = [], {}
    for (cohort, label, model), path in zip(params.probes, files.confusions, strict=True):
        table = pd.read_parquet(path)
        if table.empty:
            log.warning("%s: no test cell was scored", path)
        else:
            frames.append(score_rows((cohort, label), model, table, params.bootstrap, params.seed))
    for (cohort, label), path in zip(params.tasks, files.cells, strict=True):
        cells[cohort, label] = pd.read_parquet(path, columns=[label])[label].dropna()
    numbers, figure, table = share_numbers(cells), None, None
    status = "not run: no cohort of this study has labelled test cells"
    if frames:
        table, status = pd.concat(frames), "done"
        figure, numbers = draw(table), numbers | macro_numbers(table, weights)
    folder, target = Path(snakemake.output.numbers).parent, params.target
    save_target(
        folder, "fig3b", figure, table, numbers, target["caption"], params.simulated, status
    )


if __name__ == "__main__":
    run(main, globals())
