"""Where cells lie before, during and after treatment, and how far they move (Fig. 5b)."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import gaussian_kde, mannwhitneyu

from workflow_scripts.biomarkers.treated import GROUPS
from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of

LABELS = {"responder": "responders", "non_responder": "non-responders"}
GRID = 60  # points along each side on which a density is computed
SAME = 1e-9  # relative spread below which points have no density


def arrows(centres, points, times):
    """Return displacements between the medians of barycentres: model, group, start, end, dx, dy.

    `length` is over the root mean squared distance of two points of that map.
    """
    rows = []
    for (model, group), part in centres.groupby(["model", "group"], sort=False):
        cloud = points.loc[points["model"] == model, ["x", "y"]]
        spread = np.sqrt(2 * cloud.var(ddof=0).sum())
        medians = part.groupby("time")[["x", "y"]].median()
        seen = [time for time in times if time in medians.index]
        for start, end in zip(seen, seen[1:], strict=False):
            dx, dy = medians.loc[end] - medians.loc[start]
            row = {"model": model, "group": group, "start": start, "end": end, "dx": dx, "dy": dy}
            rows.append(row | {"length": np.hypot(dx, dy) / spread if spread else np.nan})
    columns = ["model", "group", "start", "end", "dx", "dy", "length"]
    return pd.DataFrame(rows, columns=columns)


def difference(values, responds, repeats, seed):
    """Return the mean of responders less that of the others, its interval, and a p value.

    Patients are resampled within both groups; p is that of a two-sided Mann-Whitney test.
    """
    ours, theirs = values[responds], values[~responds]
    draws = [
        resamples(len(part), repeats, seed + place) @ part / len(part)
        for place, part in enumerate((ours, theirs))
    ]
    whole = all(len(draw) for draw in draws)
    limits = interval(draws[0] - draws[1]) if whole else (None, None)
    return ours.mean() - theirs.mean(), *limits, float(mannwhitneyu(ours, theirs).pvalue)


def summarise(shifts, moved, models, times, settings, seed, weights):
    """Return the entries of numbers.json; the statements compare the first with the last time."""
    numbers, whole = {}, (times[0], times[-1])
    for (model, group, start, end), part in shifts.groupby(["model", "group", "start", "end"]):
        values = part["relative"].to_numpy()
        draws = resamples(len(values), settings["bootstrap"], seed) @ values / len(values)
        floor = part["floor"].mean()
        careful = None if np.isnan(floor) else (floor, "between two halves of the earlier sample")
        numbers[f"shift_{model}_{group}_{start}_{end}"] = number(
            values.mean(),
            *interval(draws),
            n=len(values),
            seeds=[seed],
            weights=weights.get(model),
            careful=careful,
            reason=f"over the distance of two random cells; marginals within "
            f"{part['marginal_error'].max():.2g}, no exact distance is below "
            f"{(part['lowest'] / part['distance']).min():.1%} of it",
        )
    for row in moved.itertuples():
        numbers[f"arrow_{row.model}_{row.group}_{row.start}_{row.end}"] = number(
            row.length, seeds=[seed], weights=weights.get(row.model)
        )
    for start, end in zip(times, times[1:], strict=False):
        if not ((shifts["start"] == start) & (shifts["end"] == end)).any():
            reason = f"no patient was sampled at both {start} and {end}"
            numbers[f"shift_{start}_{end}"] = not_run(reason)
    table = shifts[(shifts["start"] == whole[0]) & (shifts["end"] == whole[1])]
    return numbers | statements(table, models, settings["bootstrap"], seed, weights)


def statements(table, models, repeats, seed, weights):
    """Return C150 and C151 from the shifts between the first and the last time.

    C150: responders shift more, on the first model. C151: the mean relative shift on the second
    model is smaller.
    """
    sets = [table[table["model"] == model].set_index("patient_id") for model in models]
    ours, other = sets[0], sets[1] if len(sets) > 1 else table[:0]
    numbers = {"C150": not_run("needs patients of both groups with a first and a last sample")}
    numbers["C151"] = not_run(f"needs {name(models[1])}" if len(models) > 1 else "one model alone")
    shared = {"seeds": [seed], "weights": weights.get(models[0])}
    responds = (ours["group"] == GROUPS[0]).to_numpy()
    if 0 < responds.sum() < len(responds):
        gap, low, high, p = difference(ours["relative"].to_numpy(), responds, repeats, seed)
        reason = f"difference of mean shifts {gap:.3g}"
        reason += f" ({low:.3g} to {high:.3g})" if low is not None else ""
        careful = (p, "Mann-Whitney p over patients")
        numbers["C150"] = number(gap > 0, n=len(responds), careful=careful, reason=reason, **shared)
    if len(ours) and len(other):
        both = ours.join(other, rsuffix="_other", how="inner")
        gap = (both["relative"] - both["relative_other"]).mean()
        above = [both["relative" + s] - both["floor" + s] for s in ("", "_other")]
        careful = ((above[0] - above[1]).mean(), "difference of shifts above their floors")
        numbers["C151"] = number(
            gap > 0,
            n=len(both),
            careful=careful if np.isfinite(careful[0]) else None,
            reason=f"mean difference of relative shifts {gap:.3g}",
            **shared,
        )
    return numbers


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
