"""Survival of high-risk and low-risk patients, with what the printed test leaves out (Fig. 4c)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

from workflow_scripts.common.figures import colour, figsize, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.common.survival import draw_kaplan_meier
from workflow_scripts.patients.adjusted import draw_forest, hazard_ratios, ratio_entry
from workflow_scripts.patients.results import (
    legend_above,
    letter,
    read_facts,
    save,
    sources_of,
)
from workflow_scripts.patients.strata import RISKS, tests
from workflow_scripts.patients.structures import key

PER_YEAR = {"years": 1, "months": 12, "days": 365.25}
SHADES = ("#D55E00", "#E69F00", "#56B4E9", "#0072B2")  # from the highest risk to the lowest


def summarise(patients, found, ratios, remarks, varied, unit, seed, weights):
    """Return the entries; `found`: source -> tests of its groups, VirTues first."""
    first = next(iter(found))
    risk, events = patients[f"risk_{first}"], patients["event"]
    shared = {"weights": weights, "seeds": [seed]}
    numbers = {"C040": number(len(patients))}
    for part, (size, deaths) in zip(RISKS, (("C041", "C042"), ("C043", "C044")), strict=True):
        numbers[size] = number((risk == part).sum(), **shared)
        numbers[deaths] = number(events[risk == part].sum(), **shared)
    for source, result in found.items():
        beside = (result["permutation_p"], "p when ordering and merging are permuted too (T1)")
        said = f"log-rank between the groups before merging: p = {result['groups_p']:.3g} (T1)"
        entry = "C045" if source == first else f"merged_p_{source}"
        if np.isfinite(result["merged_p"]):
            own = shared if source == first else {"seeds": [seed]}
            numbers[entry] = number(
                result["merged_p"], n=len(patients), careful=beside, reason=said, **own
            )
        else:
            numbers[entry] = not_run("patients are in one group")
    horizon = patients["time"].max() / PER_YEAR[unit] if unit in PER_YEAR else None
    numbers["C117"] = number(horizon) if horizon else not_run("the unit of time is unknown")
    adjusted = ratio_entry(ratios, "adjusted", remarks, weights)
    numbers["adjusted_hazard_ratio"] = adjusted
    careful = (adjusted["value"], "adjusted for clinical covariates") if adjusted["value"] else None
    numbers["hazard_ratio"] = ratio_entry(ratios, "alone", remarks, weights, careful)
    share = (varied["merged_p"] < 0.05).mean()
    careful = ((varied["permutation_p"] < 0.05).mean(), "the same of permutation p (T1)")
    said = f"over {len(varied)} numbers of states and seeds; risks agree with the headline by an "
    said += f"adjusted Rand index of {varied['agreement'].min():.2f} at least"
    seeds = sorted(set(varied["seed"]))
    numbers["share_of_settings_below_0_05"] = number(
        share, n=len(varied), seeds=seeds, weights=weights, careful=careful, reason=said
    )
    return numbers


def draw(patients, source, result, ratios, remarks, varied, unit, high):
    """Return the figure: both risks, the groups before merging, the Cox model, other settings."""
    figure, axes = plt.subplots(2, 2, figsize=figsize(183, 132), height_ratios=[1.2, 1])
    figure.get_layout_engine().set(w_pad=0.08)  # long labels are wider in print than on a screen
    (merged, unmerged), (forest, settings) = axes
    follow = patients[["time", "event"]]
    risk, rank = patients[f"risk_{source}"], patients[f"rank_{source}"]
    groups = {r: (follow[risk == r], colour("groups", r.replace(" ", "_"))) for r in RISKS}
    draw_kaplan_meier(merged, {k: v for k, v in groups.items() if len(v[0])}, unit)
    p, permuted = result["merged_p"], result["permutation_p"]
    title = f"log-rank p = {p:.2g}"
    title += f"\np with ordering and merging permuted = {permuted:.2g}" if permuted else ""
    legend_above(merged, title)
    ramp = LinearSegmentedColormap.from_list("risk", SHADES)(np.linspace(0, 1, rank.max() + 1))
    side = [f"group {k + 1} ({'high' if k < high else 'low'})" for k in range(len(ramp))]
    groups = {side[k]: (follow[rank == k], ramp[k]) for k in range(len(ramp))}
    draw_kaplan_meier(unmerged, groups, unit, band=False)
    legend_above(unmerged, f"before merging: log-rank p = {result['groups_p']:.2g}", ncols=2)
    draw_forest(forest, ratios, remarks)
    draw_settings(settings, varied)
    for axis, text in zip(axes.flat, "abcd", strict=True):
        letter(axis, text)
    return figure


def draw_settings(axis, varied):
    """Draw the p values over numbers of states and seeds."""
    places = {count: i for i, count in enumerate(sorted(set(varied["states"])))}
    for column, label, shape, shade, offset in (
        ("merged_p", "log-rank, as printed", "o", "#D55E00", -0.12),
        ("permutation_p", "ordering and merging permuted", "^", "#0072B2", 0.12),
    ):
        if varied[column].notna().any():
            x = varied["states"].map(places) + offset
            axis.plot(x, varied[column], shape, color=shade, label=label, alpha=0.8)
    axis.axhline(0.05, color="#444444", ls=":", lw=0.7)
    axis.set_yscale("log")
    axis.set_ylim(min(0.02, axis.get_ylim()[0]), 1.5)
    axis.minorticks_off()
    axis.set_xticks(list(places.values()), list(places))
    axis.set_xlim(-0.5, len(places) - 0.5)
    axis.set(xlabel="states of cells; a point is a seed", ylabel="p (dotted: 0.05)")
    legend_above(axis)


def main(snakemake):
    """Test and draw the groups of VirTues; test those of the other representations beside them."""
    style()
    params, files = snakemake.params, snakemake.input
    reason, funnel = read_facts(files.facts)
    counts = {f"patients_{key(step)}": number(n) for step, n in funnel.items()}
    if reason:
        save(snakemake, None, None, counts, reason)
        return
    patients, varied = pd.read_parquet(files.patients), pd.read_parquet(files.sensitivity)
    follow, settings, seed = patients[["time", "event"]], params.settings, params.seed
    found = {
        source: tests(
            follow, patients[f"rank_{source}"], settings["high"], settings["permutations"], seed
        )
        for source in sources_of(patients)
    }
    first, weights = next(iter(found)), weights_of(files.metrics)
    ratios, remarks = hazard_ratios(patients, first, settings["covariates"])
    numbers = summarise(patients, found, ratios, remarks, varied, params.unit, seed, weights)
    figure = draw(
        patients, first, found[first], ratios, remarks, varied, params.unit, settings["high"]
    )
    compared = pd.DataFrame(found).T.rename_axis("grouped_by").reset_index()
    compared["grouped_by"] = compared["grouped_by"].map(name)
    tables = {"patients": patients, "tests": compared, "cox": ratios, "settings": varied}
    source = pd.concat([t.assign(table=words) for words, t in tables.items() if t is not None])
    save(snakemake, figure, source, counts | numbers)


if __name__ == "__main__":
    run(main, globals())
