"""Reconstruction of every marker under three masking strategies, beside the baselines (Fig. 2d)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.common.figures import PALETTE, colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.reconstruction.scores import (
    PRINTED,
    Scores,
    average,
    interval,
    lead,
    resamples,
    with_whole_accession,
)

BASELINE = {"independent": "visible mean", "marker": "best other marker", "niche": "visible mean"}


def summarise(cohorts, repeats, seeds, weights):
    """Return the entries of numbers.json: the paper's statements and ours per cohort."""
    tables = [scores.table() for scores in cohorts]
    # A replicate resamples the patients of every cohort.
    draws = [resamples(len(s.patients), repeats, seed) for seed, s in enumerate(cohorts)]
    usable = min((len(draw) for draw in draws), default=0)
    replicates = [
        [scores.table(draw[i]) for scores, draw in zip(cohorts, draws, strict=True)]
        for i in range(usable)
    ]
    common = {
        "n": sum(len(scores.patients) for scores in cohorts),
        "seeds": seeds,
        "weights": weights,
        "reason": f"over {len(cohorts)} cohorts",
    }
    mean, sd = average(tables)
    strict, _ = average([with_whole_accession(table) for table in tables])
    low, high = interval([average(r)[0] for r in replicates])
    sd_low, sd_high = interval([average(r)[1] for r in replicates])
    above = all(
        average(tables, "model", [s])[0] > average(tables, "baseline", [s])[0] for s in PRINTED
    )
    careful = (strict, "channels of a marker measured twice hidden together (D6)")
    numbers = {
        "C020": number(mean, low, high, careful=careful, **common),
        "C027": number(sd, sd_low, sd_high, **common),
        "C021": number(float(above), **common),
    }
    for index, (scores, table) in enumerate(zip(cohorts, tables, strict=True)):
        for strategy in PRINTED:
            model, baseline, markers = lead(table, strategy)
            leads = [np.subtract(*lead(r[index], strategy)[:2]) for r in replicates]
            name, reason = f"{scores.cohort}_{strategy}", f"mean over {markers} markers"
            ours = common | {"n": len(scores.patients), "reason": reason}
            numbers[f"r_{name}"] = number(model, **ours)
            numbers[f"baseline_{name}"] = number(baseline, **ours)
            numbers[f"lead_{name}"] = number(model - baseline, *interval(leads), **ours)
    return numbers


def tidy(cohorts):
    """Return the source data: one row per cohort, marker, strategy and predictor."""
    frames = [
        scores.table().rename("pearson_r").reset_index().assign(cohort=scores.cohort)
        for scores in cohorts
    ]
    table = pd.concat(frames)
    return table[["cohort", "marker", "accession", "strategy", "predictor", "pearson_r"]]


def draw(table):
    """Return the dot plot: a row per cohort, markers in order of their mean r."""
    cohorts = table["cohort"].unique()
    figure, axes = plt.subplots(
        len(cohorts),
        1,
        figsize=figsize(183, 20 + 34 * len(cohorts)),
        squeeze=False,
        layout="constrained",
        sharey=True,
    )
    for axis, cohort in zip(axes[:, 0], cohorts, strict=True):
        draw_cohort(axis, table[table["cohort"] == cohort])
        axis.set_ylabel(f"{name(cohort)}\nPearson r")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def draw_cohort(axis, table):
    """Draw one cohort: filled marks for the model, hollow ones for the baseline."""
    model = table[table["predictor"] == "model"]
    order = model.groupby("marker")["pearson_r"].mean().sort_values(ascending=False).index
    place = {marker: x for x, marker in enumerate(order)}
    for offset, strategy in zip((-0.2, 0, 0.2), PRINTED, strict=True):
        shade, shape = colour("strategies", strategy), PALETTE["shapes"][strategy]
        for predictor, face, label in (
            ("model", shade, strategy),
            ("baseline", "none", f"{strategy}: {BASELINE[strategy]}"),
        ):
            rows = table[(table["strategy"] == strategy) & (table["predictor"] == predictor)]
            axis.scatter(
                rows["marker"].map(place) + offset,
                rows["pearson_r"],
                s=9,
                marker=shape,
                facecolors=face,
                edgecolors=shade,
                linewidths=0.6,
                label=label,
            )
    axis.axhline(0, color="0.6", lw=0.5, ls=":")
    axis.set_xticks(range(len(order)), order, rotation=60, ha="right", rotation_mode="anchor")
    axis.set_xlim(-0.7, len(order) - 0.3)


def main(snakemake):
    """Draw and save the target; without a scored test tissue, say so."""
    style()
    cohorts = []
    for path in snakemake.input.moments:
        moments = pd.read_parquet(path)
        if moments.empty:
            log.warning("%s: no test tissue was scored; the cohort is left out", path)
        else:
            cohorts.append(Scores(Path(path).parent.name, moments))
    params = snakemake.params
    if cohorts:
        weights = weights_of(snakemake.input.metrics)
        numbers = summarise(cohorts, params.bootstrap, params.seeds, weights)
        table, status = tidy(cohorts), "done"
        figure = draw(table)
    else:
        reason = "no test tissue could be scored"
        numbers = {claim: not_run(reason) for claim in params.target["claims"]}
        figure, table, status = None, None, f"not run: {reason}"
    folder = Path(snakemake.output.numbers).parent
    caption = params.target["caption"]
    save_target(folder, "fig2d", figure, table, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
