"""Kaplan-Meier curves by signatures and tumour:CD4 ratio (Fig. 5j), and by other risks (S23)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.biomarkers.risk_scores import (
    by_level,
    cut_point_p,
    high_against_low,
    levels_of,
)
from workflow_scripts.biomarkers.transferred import counts, read_followed, save
from workflow_scripts.common.figures import colour, figsize, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.common.survival import cox, draw_kaplan_meier, logrank, logrank_trend

TITLES = {"as_printed": "signatures, as printed", "reversed": "signatures, reversed"}


def compare_levels(follow, levels):
    """Return sizes, events and p values of three risk groups [n] (T5); NaN: no risk is known."""
    known = ~np.isnan(np.asarray(levels, float))
    follow, levels = follow[known], np.asarray(levels)[known].astype(int)
    sizes = {f"patients_{level}": int((levels == level).sum()) for level in range(3)}
    events = {f"events_{level}": int(follow["event"][levels == level].sum()) for level in range(3)}
    p, longer = high_against_low(follow, levels)
    ps = {
        "high_against_low_p": p,
        "high_lives_longer": longer,
        "three_group_p": logrank(follow, levels)["p"],
        "trend_p": logrank_trend(follow, levels, [0, 1, 2])["p"],
    }
    return sizes | events | ps


def entry(p, n, **kept):
    """Return the entry of a p value."""
    return number(p, n=n, **kept) if np.isfinite(p) else not_run("a group has no patient or event")


def judge_score(follow, patients, settings, seed):
    """Return what Cox models say of one unit of R, and the cut-point p (T5).

    The models by key of their entry, alone and adjusted for the covariates that are recorded: (row
    of R or None, remarks in words).
    """
    score = pd.DataFrame({"R": patients["score"].to_numpy(float)}, index=follow.index)
    recorded = [column for column in settings["covariates"] if column in patients]
    lacking = [f"{one} is not recorded" for one in settings["covariates"] if one not in recorded]
    fit, said = cox(follow, score)
    models = {"hazard_ratio_of_R": (_row(fit), "; ".join(said))}
    fit, said = None, ["no covariate is recorded"]
    if recorded:
        fit, said = cox(follow, score.join(patients[recorded].set_axis(follow.index)))
    models["adjusted_hazard_ratio_of_R"] = _row(fit), "; ".join([*said, *lacking])
    p = cut_point_p(follow, score["R"].to_numpy(), settings, settings["permutations"], seed)
    return models, p


def _row(fit):
    return None if fit is None else fit.set_index("covariate").loc["R"]


def ratio_entry(fit, remarks, **kept):
    """Return the entry of the hazard ratio of R in one Cox model."""
    if fit is None:
        return not_run(remarks or "no Cox model")
    reason = f"per unit of R, p = {fit['p']:.3g}; "
    reason += f"proportional hazards p = {fit['proportional_p']:.3g} (T5)"
    reason = "; ".join(filter(None, [reason, remarks]))
    kept |= {"n": fit["patients"], "reason": reason}
    return number(fit["hazard_ratio"], fit["low"], fit["high"], **kept)


def summarise(found, scored, settings, n, seed, weights, words):
    """Return the entries; `found`: system -> `compare_levels`; `scored`: `judge_score` or None."""
    numbers = {}
    for system, facts in found.items():
        ours = {"weights": weights, "seeds": [seed]} if system in TITLES else {}
        for what in ("high_against_low_p", "three_group_p", "trend_p"):
            numbers[f"{what}_{system}"] = entry(facts[what], n, **ours)
        for level, risk in enumerate(("low", "medium", "high")):
            for what in ("patients", "events"):
                numbers[f"{what}_{risk}_{system}"] = number(facts[f"{what}_{level}"], **ours)
    if scored is None:
        return numbers
    models, p = scored
    ours = {"weights": weights, "seeds": [seed]}
    numbers |= {key: ratio_entry(*model, **ours) for key, model in models.items()}
    return numbers | statements(found, settings["orientation"], p, n, ours, words)


def statements(found, orientation, p, n, ours, words):
    """Return C100 to C104, in the orientation of the settings; the other one in words beside."""
    other = "reversed" if orientation == "as_printed" else "as_printed"
    first, second, numbers = found[orientation], found[other], {}
    for claim, key in (
        ("C100", "patients_0"), ("C101", "events_0"), ("C102", "patients_2"), ("C103", "events_2"),
    ):  # fmt: skip
        beside = f"{second[key]} when {other.replace('_', ' ')}; {words}"
        numbers[claim] = number(first[key], reason=beside, **ours)
    careful = (p, "had the cut-points been chosen for it: permutation over all of them (T5)")
    reason = f"three groups p = {first['three_group_p']:.3g}, trend p = {first['trend_p']:.3g} (T5)"
    careful = careful if np.isfinite(p) else None
    test, contrary = first["high_against_low_p"], first["high_lives_longer"]
    numbers["C104"] = entry(test, n, careful=careful, reason=reason, contrary=contrary, **ours)
    return numbers


def draw(follow, levels, found, unit):
    """Return the figure: curves of each system's groups."""
    figure, axes = plt.subplots(1, len(levels), figsize=figsize(183, 82), squeeze=False)
    figure.get_layout_engine().set(w_pad=0.08)  # names of groups stand left of the axes
    for axis, (system, level) in zip(axes[0], levels.items(), strict=True):
        groups = {
            risk: (part, colour("groups", risk.replace(" ", "_")))
            for risk, part in by_level(follow, np.asarray(level)).items()
        }
        draw_kaplan_meier(axis, groups, unit)
        facts = found[system]
        p = facts["high_against_low_p"]
        title = TITLES.get(system) or name(system)
        title += f"\nhigh against low: p = {p:.2g}" if np.isfinite(p) else "\nno high or low risk"
        if np.isfinite(facts["trend_p"]):
            title += f"\ntrend: p = {facts['trend_p']:.2g}"
        axis.legend(title=title, loc="lower left", bbox_to_anchor=(0, 1), alignment="left")
        axis.set_ylabel("event-free survival")
    return figure


def main(snakemake):
    """Test and draw the systems of this figure."""
    style()
    params, files = snakemake.params, snakemake.input
    patients, follow, facts, reason = read_followed(files, params.reason)
    if reason:
        save(snakemake, None, None, {}, reason)
        return
    settings, weights = params.settings, weights_of(files.metrics)
    systems = levels_of(patients, settings)
    wanted = [settings["orientation"] if s == "ours" else s for s in params.systems]
    shown = {system: systems[system] for system in wanted if system in systems}
    tested = dict.fromkeys(["as_printed", "reversed"] if "ours" in params.systems else [])
    found = {s: compare_levels(follow, systems[s]) for s in {**shown, **tested}}
    scored = None
    if "ours" in params.systems:
        scored = judge_score(follow, patients, settings, params.seed)
    n, words = len(patients), counts(facts)
    numbers = summarise(found, scored, settings, n, params.seed, weights, words)
    for system in set(wanted) - set(shown):
        numbers[f"high_against_low_p_{system}"] = not_run(facts["absent"].get("groups", "no group"))
    source = patients.assign(**{f"level_{s}": level for s, level in systems.items()})
    save(snakemake, draw(follow, shown, found, params.unit), source, numbers)


if __name__ == "__main__":
    run(main, globals())
