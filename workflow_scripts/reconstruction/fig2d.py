"""Reconstruction of every cohort under three masking strategies, beside the baselines (Fig. 2d)."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D

from workflow_scripts.common.bootstrap import interval
from workflow_scripts.common.figures import PALETTE, colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, weights_of
from workflow_scripts.reconstruction.scores import PRINTED, Scores, counts, means
from workflow_scripts.reconstruction.statements import CLAIMS, resampled, summarise

BASELINES = {
    "independent": ("mean_visible", "mean of visible pixels, independent"),
    "marker": ("best_other_marker", "best-correlated other marker"),
    "niche": ("mean_visible", "mean of visible pixels, niche"),
}
PLACES = {"independent": -0.22, "marker": 0.0, "niche": 0.22}


def read_scores(paths):
    """Return the Scores of every cohort that has a scored test tissue."""
    cohorts = []
    for path in paths:
        table = pd.read_parquet(path)
        if table.empty:
            log.warning("%s: no test tissue was scored; the cohort is left out", path)
        else:
            cohorts.append(Scores(Path(path).parent.name, table))
    return cohorts


def tidy(cohorts, repeats):
    """Return the source data: mean r, its interval and counts per cohort, strategy, predictor."""
    rows = []
    for scores, weights in zip(cohorts, resampled(cohorts, repeats), strict=True):
        for strategy in PRINTED:
            there, missing = counts(scores, strategy)
            drawn = means(scores, strategy, weights=weights)
            pairs = zip(("model", "baseline"), means(scores, strategy), drawn, strict=True)
            for predictor, value, values in pairs:
                row = (scores.cohort, strategy, predictor, float(value), *interval(values))
                rows.append((*row, there, missing, len(scores.patients)))
    columns = ["cohort", "strategy", "predictor", "mean_pearson_r", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "markers", "constant_markers", "test_patients"])


def draw(table):
    """Return the dot plot: a column per cohort in its colour, a shape per strategy."""
    cohorts = list(table["cohort"].unique())
    figure, axis = plt.subplots(figsize=figsize(183 if len(cohorts) > 5 else 89, 75))
    for row in table.itertuples():
        x = cohorts.index(row.cohort) + PLACES[row.strategy]
        if row.predictor == "model":
            shade, shape, size = colour("cohorts", row.cohort), PALETTE["shapes"][row.strategy], 16
            if pd.notna(row.low):
                axis.vlines(x, row.low, row.high, color=shade, lw=0.8, zorder=2)
        else:
            kind = BASELINES[row.strategy][0]
            shade, shape, size = colour("models", kind), PALETTE["shapes"][kind], 9
        hollow = row.predictor == "baseline" and row.strategy == "niche"
        face = "white" if hollow else shade
        marks = {"marker": shape, "edgecolors": shade, "lw": 0.6, "zorder": 3}
        axis.scatter(x, row.mean_pearson_r, size, face, **marks)
    axis.axhline(0, color="0.6", lw=0.5, ls=":")
    axis.set_xticks(range(len(cohorts)), [name(c) for c in cohorts], rotation=35, ha="right")
    axis.set_xlim(-0.6, len(cohorts) - 0.4)
    axis.set_ylabel("mean Pearson r")
    figure.legend(handles=legend(), loc="outside upper center", ncols=2)
    return figure


def legend():
    """Return what the shapes mean; the colours are those of the cohorts below the axis."""
    ours = [(PALETTE["shapes"][s], "0.25", "0.25", f"{s} masking") for s in PRINTED]
    theirs = []
    for strategy, (kind, label) in BASELINES.items():
        shade = colour("models", kind)
        face = "white" if strategy == "niche" else shade
        theirs.append((PALETTE["shapes"][kind], face, shade, label))
    return [
        Line2D([], [], ls="", marker=shape, markerfacecolor=face, markeredgecolor=edge, label=label)
        for shape, face, edge, label in [*ours, *theirs]
    ]


def main(snakemake):
    """Draw and save the target; without a scored test tissue, say so."""
    style()
    params, cohorts = snakemake.params, read_scores(snakemake.input.moments)
    if cohorts:
        numbers = summarise(
            cohorts,
            params.compared,
            params.bootstrap,
            params.seeds,
            weights_of(snakemake.input.metrics),
            params.absent,
        )
        table, status = tidy(cohorts, params.bootstrap), "done"
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
