"""One metric of every marker of every cohort, under each strategy (Suppl. Fig. 11 and 12)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from workflow_scripts.common.bootstrap import interval
from workflow_scripts.common.figures import PALETTE, colour, figsize, save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.reconstruction.fig2d import BASELINES, read_scores
from workflow_scripts.reconstruction.scores import PRINTED, average
from workflow_scripts.reconstruction.statements import absent_numbers, complete, resampled

ROW = 32  # mm; eight rows, of fifteen cohorts, fit on a page
AXIS = {"pearson_r": "Pearson r", "f1": "F1 of positivity"}


def tidy(cohorts, metric):
    """Return the source data: one row per cohort, marker, strategy and predictor."""
    table = pd.concat([scores.table() for scores in cohorts], ignore_index=True)
    return table[["cohort", "marker", "accession", "strategy", "predictor", metric]]


def draw(table, metric):
    """Return the dot plots, two cohorts side by side; a marker without a score is named in grey."""
    cohorts = table["cohort"].unique()
    rows = -(-len(cohorts) // 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=figsize(183, 14 + ROW * rows), squeeze=False, sharey=True
    )
    for axis, cohort in zip(axes.flat, cohorts, strict=False):
        draw_cohort(axis, table[table["cohort"] == cohort], metric)
        axis.set_title(name(cohort), loc="left")
    for axis in axes.flat[len(cohorts) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel(AXIS[metric])
    figure.legend(handles=legend(), loc="outside upper center", ncols=5)
    figure.set_layout_engine("constrained", h_pad=0.04)  # a long name keeps off the title below
    return figure


def draw_cohort(axis, table, metric):
    """Draw one cohort, markers in order of the model's mean: colours for it, grey for baselines."""
    model = table[table["predictor"] == "model"]
    order = model.groupby("marker")[metric].mean().sort_values(ascending=False, na_position="last")
    place = {marker: x for x, marker in enumerate(order.index)}
    for strategy in PRINTED:
        rows = table[table["strategy"] == strategy]
        kind = BASELINES[strategy][0]
        for predictor, shade, shape in (
            ("baseline", colour("models", kind), PALETTE["shapes"][kind]),
            ("model", colour("strategies", strategy), PALETTE["shapes"][strategy]),
        ):
            if predictor == "baseline" and strategy == "niche":
                continue  # all but the same as under independent masking; it is in the table
            part = rows[rows["predictor"] == predictor]
            axis.scatter(part["marker"].map(place), part[metric], 7, shade, marker=shape, lw=0)
    axis.axhline(0, color="0.6", lw=0.5, ls=":")
    axis.set_xticks(range(len(order)), order.index, rotation=90, fontsize=5)
    axis.tick_params("x", pad=1)
    for label, value in zip(axis.get_xticklabels(), order, strict=True):
        label.set_color("0.65" if np.isnan(value) else "0.13")
    axis.set_xlim(-0.7, max(len(order), 12) - 0.3)


def legend():
    """Return the marks of the three strategies and of both baselines."""
    marks = [(PALETTE["shapes"][s], colour("strategies", s), f"{s} masking") for s in PRINTED]
    for strategy in ("independent", "marker"):
        kind, label = BASELINES[strategy]
        label = label.removesuffix(", independent")
        marks.append((PALETTE["shapes"][kind], colour("models", kind), label))
    return [
        Line2D([], [], ls="", marker=shape, color=shade, mew=0, label=label)
        for shape, shade, label in marks
    ]


def summarise(cohorts, metric, repeats, common):
    """Return the mean over (cohort, marker, strategy), and how many have no score."""
    centre, _ = average(cohorts, [None] * len(cohorts), metric=metric)
    centres, _ = average(cohorts, complete(resampled(cohorts, repeats)), metric=metric)
    patients = sum(len(scores.patients) for scores in cohorts)
    missing = sum(
        int(np.isnan(s.values(metric)[s.places(strategy)]).sum())
        for s in cohorts
        for strategy in PRINTED
    )
    reason = "markers that do not vary in the test tissues, times strategies"
    return {
        f"mean_{metric}": not_run("no marker varies in the test tissues")
        if np.isnan(centre)
        else number(centre, *interval(centres), n=patients, **common),
        f"undefined_{metric}": number(missing, reason=reason, **common),
    }


def main(snakemake):
    """Draw and save a target for every metric; without a scored test tissue, say so."""
    style()
    params, cohorts = snakemake.params, read_scores(snakemake.input.moments)
    rows = zip(params.targets, params.metrics, snakemake.output.numbers, strict=True)
    for target, metric, path in rows:
        figure, table, numbers = None, None, {}
        status = "not run: no test tissue could be scored"
        if cohorts:
            common = {"seeds": params.seeds, "weights": weights_of(snakemake.input.metrics)}
            table, status = tidy(cohorts, metric), "done"
            figure = draw(table, metric)
            numbers = summarise(cohorts, metric, params.bootstrap, common)
        numbers |= absent_numbers(params.absent)
        folder, caption = Path(path).parent, target["caption"]
        save_target(folder, target["id"], figure, table, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
