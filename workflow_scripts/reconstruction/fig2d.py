"""Reconstruction of every marker under three masking strategies, beside the baselines (Fig. 2d)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.figures import PALETTE, colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.reconstruction.scores import (
    PRINTED,
    Scores,
    average,
    lead,
    with_whole_accession,
)

CLAIMS = ("C020", "C021", "C027")
BASELINE = {"independent": "visible mean", "marker": "best other marker", "niche": "visible mean"}


def statements(cohorts, replicates, common):
    """Return the paper's statements over `cohorts` [Scores], each weighing as its markers (D3)."""
    tables = [scores.table() for scores in cohorts]
    mean, sd = average(tables)
    strict, _ = average([with_whole_accession(table) for table in tables])
    averages = np.array([average(draw) for draw in replicates]).reshape(-1, 2)
    leads = [lead(pd.concat(tables), strategy) for strategy in PRINTED]
    if np.isnan(mean):
        return {claim: not_run("no marker varies in the test tissues") for claim in CLAIMS}
    above = all(model > baseline for model, baseline, _ in leads)
    careful = (strict, "channels of a marker measured twice hidden together (D6)")
    return {
        "C020": number(mean, *interval(averages[:, 0]), careful=careful, **common),
        "C027": number(sd, *interval(averages[:, 1]), **common),
        "C021": number(float(above), **common),
    }


def per_cohort(scores, draws, common):
    """Return model's r, baseline's r and the lead of a cohort under each strategy."""
    numbers, table = {}, scores.table()
    for strategy in PRINTED:
        model, baseline, markers = lead(table, strategy)
        key = f"{scores.cohort}_{strategy}"
        if not markers:
            numbers[f"r_{key}"] = not_run("no marker varies in the test tissues")
            continue
        leads = [np.subtract(*lead(draw, strategy)[:2]) for draw in draws]
        ours = common | {"n": len(scores.patients), "reason": f"mean over {markers} markers"}
        numbers[f"r_{key}"] = number(model, **ours)
        numbers[f"baseline_{key}"] = number(baseline, **ours)
        numbers[f"lead_{key}"] = number(model - baseline, *interval(leads), **ours)
    return numbers


def summarise(cohorts, compared, repeats, seeds, weights):
    """Return the entries of numbers.json: the paper's statements, and ours of every cohort.

    `compared`: ids of the cohorts that the statements are about. Patients are resampled within
    each cohort; a cohort with a single test patient leaves no interval.
    """
    draws = {
        s.cohort: [s.table(draw) for draw in resamples(len(s.patients), repeats, seed)]
        for seed, s in enumerate(cohorts)
    }
    common = {"seeds": seeds, "weights": weights}
    chosen = [scores for scores in cohorts if scores.cohort in compared]
    if chosen:
        replicates = list(zip(*(draws[scores.cohort] for scores in chosen), strict=False))
        reason = f"over {len(chosen)} cohorts; the paper averages over 14"
        patients = sum(len(scores.patients) for scores in chosen)
        numbers = statements(chosen, replicates, common | {"n": patients, "reason": reason})
    else:
        reason = "none of the paper's cohorts is in this study"
        numbers = {claim: not_run(reason) for claim in CLAIMS}
    for scores in cohorts:
        numbers |= per_cohort(scores, draws[scores.cohort], common)
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
        figsize=figsize(183, 20 + 38 * len(cohorts)),
        squeeze=False,
        layout="constrained",
        sharey=True,
    )
    for axis, cohort in zip(axes[:, 0], cohorts, strict=True):
        draw_cohort(axis, table[table["cohort"] == cohort])
        axis.set_title(name(cohort), loc="left")
        axis.set_ylabel("Pearson r")
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
        numbers = summarise(cohorts, params.compared, params.bootstrap, params.seeds, weights)
        table, status = tidy(cohorts), "done"
        figure = draw(table)
    else:
        reason = "no test tissue could be scored"
        numbers = {claim: not_run(reason) for claim in CLAIMS}
        figure, table, status = None, None, f"not run: {reason}"
    folder = Path(snakemake.output.numbers).parent
    caption = params.target["caption"]
    save_target(folder, "fig2d", figure, table, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
