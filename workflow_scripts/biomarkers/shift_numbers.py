"""How far cells move, as numbers: arrows between medians, and who moves more (Fig. 5b)."""

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu

from workflow_scripts.biomarkers.treated import GROUPS
from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number


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
