"""Concordance of risk groups with survival: signatures, published groups and ratios (Fig. 5k)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.biomarkers.risk_scores import (
    concordances,
    levels_of,
    paired_difference,
    risk_levels,
)
from workflow_scripts.biomarkers.transferred import counts, read_followed, save
from workflow_scripts.common.bootstrap import interval
from workflow_scripts.common.figures import colour, figsize, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of

RATIOS = {"C107": "cd8", "C108": "cd4", "C109": "b"}
CLAIMS = {"C106": "meyer"} | {claim: f"ratio_{kind}" for claim, kind in RATIOS.items()}
BESIDE = {
    "R": "R itself, no groups",
    "prevalence": "share of cells kept",
    "frozen": "discovery cut-points",
}


def risks_of(patients, settings):
    """Return system -> risk [n]: all systems, and our variants in the same orientation."""
    orientation = settings["orientation"]
    sign = 1 if orientation == "as_printed" else -1
    variants = {"R": sign * patients["score"].to_numpy(float)}
    for variant in ("prevalence", "frozen"):
        variants[variant] = risk_levels(
            patients[f"score_{variant}"].to_numpy(), settings, orientation
        )
    return levels_of(patients, settings) | variants


def tabulate(follow, risks, ours, repeats, seed):
    """Return tidy rows: system, concordance, its interval, our lead over it and that one's.

    `risks`: system -> risk [n]. A lead is over the patients who have a risk in that system.
    """
    found = concordances(follow, risks, repeats, seed)
    beside = {
        system: np.where(np.isnan(risk), np.nan, risks[ours]) for system, risk in risks.items()
    }
    beside = concordances(follow, beside, repeats, seed)
    rows = []
    for system, (value, draws) in found.items():
        low, high = interval(draws)
        lead, lead_low, lead_high = paired_difference(beside[system], found[system])
        row = {"system": system, "concordance": value, "low": low, "high": high}
        rows.append(row | {"lead": lead, "lead_low": lead_low, "lead_high": lead_high})
    return pd.DataFrame(rows).set_index("system", drop=False)


def summarise(table, ours, n, absent, seed, weights, words):
    """Return the entries; C155: our concordance is above that of all four others."""
    numbers, shared = {}, {"n": n, "seeds": [seed]}
    for row in table.itertuples():
        mine = (
            {"weights": weights} if row.system in (ours, "as_printed", "reversed", *BESIDE) else {}
        )
        kept = {"reason": BESIDE.get(row.system)} | shared | mine
        key = f"concordance_{row.system}"
        if np.isnan(row.concordance):
            numbers[key] = not_run("no pair of patients can be compared")
        else:
            numbers[key] = number(row.concordance, row.low, row.high, **kept)
    first = table.loc[ours]
    if np.isnan(first["concordance"]):
        return numbers | {
            claim: not_run("no comparable pair") for claim in ("C105", *CLAIMS, "C155")
        }
    other = table.loc["reversed" if ours == "as_printed" else "as_printed", "concordance"]
    careful = (table.loc["R", "concordance"], "of R itself, without cut-points (T5)")
    reason = f"{ours.replace('_', ' ')}; in the other orientation {other:.3f}; {words}"
    ends = first["low"], first["high"]
    shared |= {"weights": weights}
    numbers["C105"] = number(first["concordance"], *ends, careful=careful, reason=reason, **shared)
    for claim, system in CLAIMS.items():
        if system not in table.index:
            numbers[claim] = not_run(absent)
            continue
        row = table.loc[system]
        reason = f"our lead {row['lead']:.3f}"
        if row["lead_low"] is not None and not pd.isna(row["lead_low"]):
            reason += f" ({row['lead_low']:.3f} to {row['lead_high']:.3f}), the same patients (T5)"
        ends = row["low"], row["high"]
        numbers[claim] = number(row["concordance"], *ends, n=n, seeds=[seed], reason=reason)
    lacking = [system for system in CLAIMS.values() if system not in table.index]
    if lacking:
        return numbers | {"C155": not_run(f"needs {' and '.join(map(name, lacking))}: {absent}")}
    rivals = table.loc[list(CLAIMS.values())]
    careful = None
    if rivals["lead_low"].notna().all():
        worst = rivals["lead_low"].astype(float).idxmin()
        words = f"lower end of our lead, the smallest of four ({name(worst)}; T5)"
        careful = (float(rivals.loc[worst, "lead_low"]), words)
    holds = (rivals["lead"] > 0).all()
    return numbers | {"C155": number(holds, careful=careful, **shared)}


def draw(table, ours):
    """Return the figure: a point with interval per system; dotted at chance."""
    figure, axis = plt.subplots(figsize=figsize(89, 62))
    figure.get_layout_engine().set(w_pad=0.1)
    other = "reversed" if ours == "as_printed" else "as_printed"
    shown = [ours, *CLAIMS.values(), other, *BESIDE]
    rows = [table.loc[system] for system in shown if system in table.index]
    words = {ours: f"signatures, {ours.replace('_', ' ')}"}
    words |= {other: f"signatures, {other.replace('_', ' ')}"}
    words |= {key: f"signatures, {text}" for key, text in BESIDE.items()}
    for y, row in enumerate(rows):
        mine = row["system"] in words
        shade = colour("models", "virtues") if mine else "#666666"
        if row["low"] is not None and not pd.isna(row["low"]):
            axis.hlines(y, row["low"], row["high"], color=shade, lw=0.8)
        hollow = mine and row["system"] != ours
        axis.plot(row["concordance"], y, "o", color=shade, mfc="white" if hollow else shade)
    labels = [words.get(row["system"]) or name(row["system"]) for row in rows]
    axis.set_yticks(range(len(rows)), labels, fontsize=5)
    axis.invert_yaxis()
    axis.axvline(0.5, ls=":", lw=0.6, color="0.4")
    axis.set(xlabel="concordance index (95 % interval)")
    return figure


def main(snakemake):
    """Compare all systems on the same patients."""
    style()
    params, files = snakemake.params, snakemake.input
    patients, follow, facts, reason = read_followed(files, params.reason)
    if reason:
        save(snakemake, None, None, {}, reason)
        return
    settings, seed = params.settings, params.seed
    risks = risks_of(patients, settings)
    table = tabulate(follow, risks, settings["orientation"], settings["bootstrap"], seed)
    absent = facts["absent"].get("groups", "no patient has a published group")
    words, weights = counts(facts), weights_of(files.metrics)
    numbers = summarise(table, settings["orientation"], len(patients), absent, seed, weights, words)
    save(snakemake, draw(table, settings["orientation"]), table, numbers)


if __name__ == "__main__":
    run(main, globals())
