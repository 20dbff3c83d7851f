"""Where cells lie before, during and after treatment, and how far they move (Fig. 5b)."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import gaussian_kde

from workflow_scripts.biomarkers.shift_numbers import arrows, summarise
from workflow_scripts.biomarkers.treated import GROUPS
from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, weights_of

LABELS = {"responder": "responders", "non_responder": "non-responders"}
GRID = 60  # points along each side on which a density is computed
SAME = 1e-9  # relative spread below which points have no density


def density(points, limits):
    """Return grid axes and the density of points [n, 2] on it; None where they have none."""
    if len(points) < 3 or np.linalg.matrix_rank(np.cov(points.T), tol=SAME) < 2:
        return None
    x, y = (np.linspace(*limit, GRID) for limit in limits)
    places = np.stack(np.meshgrid(x, y)).reshape(2, -1)
    return x, y, gaussian_kde(points.T)(places).reshape(GRID, GRID)


def draw(points, centres, models, times):
    """Return the figure: a density per model, group and time, arrows between medians."""
    columns = len(models) * len(times)
    figure, axes = plt.subplots(2, columns, figsize=figsize(183, 70), squeeze=False)
    for place, model in enumerate(models):
        cloud = points[points["model"] == model]
        limits = [
            (low - 0.08 * (high - low), high + 0.08 * (high - low))
            for low, high in (cloud[axis].quantile([0.002, 0.998]) for axis in ("x", "y"))
        ]
        for row, group in zip(axes, GROUPS[::-1], strict=True):
            path = []
            for step, time in enumerate(times):
                axis = row[place * len(times) + step]
                rows = cloud[(cloud["group"] == group) & (cloud["time"] == time)]
                centre = centres[(centres["model"] == model) & (centres["group"] == group)]
                centre = centre.loc[centre["time"] == time, ["x", "y"]]
                draw_panel(axis, rows, limits, group)
                if len(centre):
                    path.append(centre.median().to_numpy())
                draw_path(axis, path)
                if axis in axes[0]:
                    above = name(model) if step == len(times) // 2 else ""
                    axis.set_title(f"{above}\n{time}", fontsize=6)
                axis.set_xlabel(f"n = {rows['patient_id'].nunique()}", fontsize=5)
            if place == 0:
                row[0].set_ylabel(LABELS[group])
    return figure


def draw_panel(axis, rows, limits, group):
    """Draw the cells of a group at a time and their density."""
    axis.scatter(rows["x"], rows["y"], 1, "#BBBBBB", lw=0, rasterized=True)
    found = density(rows[["x", "y"]].to_numpy(float), limits)
    if found is not None:
        levels = np.linspace(0.1, 1, 6) * found[2].max()
        shade = colour("groups", group)
        axis.contour(*found, levels=levels[:-1], colors=shade, linewidths=0.5)
        axis.contourf(*found, levels=levels, colors=[shade], alpha=0.15)
    axis.set(xticks=[], yticks=[], xlim=limits[0], ylim=limits[1])
    axis.set_box_aspect(1)
    axis.spines[:].set_visible(True)


def draw_path(axis, path):
    """Draw arrows between the medians of the barycentres so far; the first is a point."""
    if path:
        axis.plot(*path[0], "o", color="black", ms=2)
    for start, end in zip(path, path[1:], strict=False):
        shape = {"arrowstyle": "-|>", "color": "black", "lw": 0.8, "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", end, start, arrowprops=shape | {"mutation_scale": 5})


def main(snakemake):
    """Draw the densities; where there is nothing to draw, say why."""
    style()
    params, files = snakemake.params, snakemake.input
    figure, source, numbers = None, None, {}
    reason, status = params.reason, "done"
    if not reason:
        status = json.loads(Path(files.facts).read_text(encoding="utf-8"))["status"]
        reason = "" if status == "done" else status.removeprefix("not run: ")
    if reason:
        numbers = {claim: not_run(reason) for claim in params.target["claims"]}
        status = f"not run: {reason}"
    else:
        times, models = params.settings["times"], params.models
        shifts, points, centres = map(
            pd.read_parquet, (files.shifts, files.points, files.barycentres)
        )
        weights = {params.models[0]: weights_of(files.metrics)}
        moved = arrows(centres, points, times)
        numbers = summarise(shifts, moved, models, times, params.settings, params.seed, weights)
        figure = draw(points, centres, models, times)
        tables = {"shift": shifts, "arrow": moved, "barycentre": centres, "cell": points}
        source = pd.concat([t.assign(table=key) for key, t in tables.items()])
    folder, target = Path(snakemake.output.numbers).parent, params.target
    save_target(
        folder, target["id"], figure, source, numbers, target["caption"], params.simulated, status
    )


if __name__ == "__main__":
    run(main, globals())
