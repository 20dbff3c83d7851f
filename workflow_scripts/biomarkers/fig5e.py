"""Response predicted from signatures, the published predictor and immune ratios (Fig. 5e)."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from workflow_scripts.biomarkers import prediction
from workflow_scripts.biomarkers.baselines import log_ratio, read_published
from workflow_scripts.biomarkers.clusters import Clusters
from workflow_scripts.biomarkers.enrichment import relative_change
from workflow_scripts.biomarkers.found import read_facts
from workflow_scripts.biomarkers.selection import (
    JOINT,
    NAMES,
    nested_scores,
    permuted,
    printed_scores,
)
from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.numbers import not_run, number, weights_of

SIGNATURE_CLAIMS = dict(zip(NAMES, ("C073", "C074", "C075", "C076"), strict=True))
PUBLISHED = "published"
WORDS = {
    JOINT: "all four",
    PUBLISHED: "published predictor",
    "cd4": "tumour : CD4 ratio",
    "cd8": "tumour : CD8 ratio",
    "b": "tumour : B ratio",
}
NESTED = "selection and cut-points inside each outer fold (T2)"
CORRECTED = "corrected resampled t-test (T3)"


def compare(scores, nested, responds, folds, draws):
    """Return a tidy table: per predictor and protocol the AUROC, and what all four gain over it.

    `draws` [repeats, patients]: bootstrap weights, the same for all, so that differences are paired
    (T3); models stay as fitted. Intervals of an AUROC are those of the corrected t-test.
    """
    joint = prediction.fold_aurocs(scores[JOINT], responds)
    joint_drawn = prediction.resampled_auroc(scores[JOINT], responds, draws)
    rows = []
    for protocol, table in (("as printed", scores), ("nested", nested)):
        for name, one in table.items():
            each = prediction.fold_aurocs(one, responds)
            drawn = prediction.resampled_auroc(one, responds, draws)
            low, high = prediction.corrected_interval(each, folds)
            row = {"predictor": name, "protocol": protocol, "auroc": each.mean()}
            row |= {"low": low, "high": high, "patients": len(responds), "folds": len(each)}
            if protocol == "as printed" and name != JOINT:
                gap = interval(joint_drawn - drawn)
                gain = interval(relative_change(joint_drawn, drawn))
                row |= {"gain_percent": float(relative_change(joint.mean(), each.mean()))}
                row |= {"gain_low": gain[0], "gain_high": gain[1]}
                row |= {"difference": joint.mean() - each.mean()}
                row |= {"difference_low": gap[0], "difference_high": gap[1]}
                row |= {"p_printed": prediction.printed_p(joint, each)}
                row |= {"p_corrected": prediction.corrected_p(joint, each, folds)}
            rows.append(row)
    return pd.DataFrame(rows)


def summarise(table, chance, funnel, common):
    """Return the entries of numbers.json, the paper's statements among them.

    `chance` [permutations, 2]: AUROC of the best cluster and of all four under permuted outcomes.
    """
    printed = table[table["protocol"] == "as printed"].set_index("predictor")
    nested = table[table["protocol"] == "nested"].set_index("predictor")
    numbers = {"C072": number(common["n"], **common)}
    for place, row in enumerate(funnel.itertuples()):
        numbers[f"patients_{place}"] = number(row.patients, reason=row.condition)
    for name, claim in {**SIGNATURE_CLAIMS, JOINT: "C077"}.items():
        row, careful = printed.loc[name], nested.loc[name]
        beside = (careful["auroc"], NESTED)
        numbers[claim] = number(row["auroc"], row["low"], row["high"], careful=beside, **common)
        ends = careful["low"], careful["high"]
        numbers[f"nested_{name}"] = number(careful["auroc"], *ends, **common)
    rivals = printed.drop([*NAMES, JOINT])
    for name, row in rivals.iterrows():
        numbers[f"auroc_{name}"] = number(row["auroc"], row["low"], row["high"], **common)
        if name != "literal":
            ends = row["difference_low"], row["difference_high"]
            numbers[f"difference_{name}"] = number(row["difference"], *ends, **common)
            beside = (row["p_corrected"], CORRECTED)
            numbers[f"p_{name}"] = number(row["p_printed"], careful=beside, **common)
    ratios = rivals.drop(["literal", PUBLISHED], errors="ignore")["auroc"]
    against = {"C098": ratios.idxmax(), "C099": ratios.idxmin(), "C078": PUBLISHED}
    for claim, name in against.items():
        if name not in rivals.index:
            continue
        row, reason = rivals.loc[name], f"over {WORDS[name]}"
        if pd.isna(row["gain_percent"]):
            numbers[claim] = not_run(f"the AUROC of {WORDS[name]} is 0")
            continue
        careful = (float(relative_change(nested.loc[JOINT, "auroc"], row["auroc"])), NESTED)
        numbers[claim] = number(
            row["gain_percent"],
            row["gain_low"],
            row["gain_high"],
            careful=careful,
            reason=reason,
            **common,
        )
    if PUBLISHED in rivals.index:
        numbers["C079"] = numbers[f"p_{PUBLISHED}"]
    else:
        reason = "no table of the published predictor's scores was supplied"
        numbers |= {claim: not_run(reason) for claim in ("C078", "C079")}
    observed = printed.loc[list(NAMES), "auroc"].max(), printed.loc[JOINT, "auroc"]
    for name, null, value in zip(("best_cluster", JOINT), chance.T, observed, strict=True):
        if len(null):
            numbers[f"chance_{name}"] = number(null.mean(), *interval(null), **common)
            exceed = (1 + (null >= value).sum()) / (1 + len(null))
            numbers[f"p_permutation_{name}"] = number(exceed, **common)
    return numbers


def draw(table, chance):
    """Return the dot plot: filled as printed, hollow nested, grey what chance reaches (95 %)."""
    own, labels = (*NAMES, JOINT), []
    shown = [name for name in (*NAMES, *WORDS) if name in set(table["predictor"])]
    figure, axis = plt.subplots(figsize=figsize(89, 20 + 6 * len(shown)))
    axis.axvline(0.5, ls=":", lw=0.6, color="0.4")
    for y, name in enumerate(shown):
        shade = colour("groups", name) if name in NAMES else "#222222"
        shade = shade if name in own else "#777777"
        rows = table[table["predictor"] == name].set_index("protocol")
        if len(chance) and name in own:
            ends = interval(chance[:, int(name == JOINT)])
            axis.plot(ends, [y - 0.15] * 2, color="0.85", lw=6, solid_capstyle="butt", zorder=0)
        for (protocol, row), shift in zip(rows.iterrows(), (-0.15, 0.15), strict=False):
            line = {"color": shade, "clip_on": False}
            face = shade if protocol == "as printed" else "white"
            axis.plot([row["low"], row["high"]], [y + shift] * 2, lw=0.8, **line)
            axis.plot(row["auroc"], y + shift, "o", markerfacecolor=face, **line)
        p = [_short(rows.iloc[0][key]) for key in ("p_printed", "p_corrected")]
        better = "" if name in own else f"\n(p {p[0]}, corrected {p[1]})"
        labels.append(WORDS.get(name, name) + better)
    for face, label in (("0.25", "as printed"), ("white", "nested")):
        axis.plot([], [], "o", color="0.25", markerfacecolor=face, label=label)
    axis.plot([], [], color="0.85", lw=6, solid_capstyle="butt", label="permuted outcomes")
    axis.set_yticks(range(len(shown)), labels)
    patients = f"(n = {table['patients'].iloc[0]} patients)"
    axis.set_xlabel(f"AUROC, mean over folds {patients}")
    axis.set(xlim=(min(0.3, table["low"].min()), 1), ylim=(len(shown) - 0.5, -0.6))
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def _short(value):
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def main(snakemake):
    """Score every predictor in the same folds."""
    style()
    files, params = snakemake.input, snakemake.params
    signatures, facts, reason = read_facts(files.facts)
    figure = table = None
    numbers = {claim: not_run(reason) for claim in params.target["claims"]} if reason else {}
    if not reason:
        clusters, settings, seed = Clusters.load(files.clusters), params.settings, params.seed
        cells = pd.read_parquet(files.cells, columns=["patient_id", "label"])
        rivals = {
            name: log_ratio(cells, clusters.patients, params.tumour, others)
            for name, others in params.ratios.items()
        }
        if settings["published"]:
            rivals[PUBLISHED] = read_published(settings["published"], clusters.patients)
        responds = clusters.responds
        folds = prediction.make_folds(responds, settings["folds"], settings["joint_repeats"], seed)
        places, literal = (
            {name: one["place"] for name, one in found.items()}
            for found in (signatures, facts["literal"])
        )
        scores = printed_scores(clusters, places, literal, rivals, folds)
        nested, chance = (
            nested_scores(clusters, folds, settings, seed),
            permuted(clusters, settings, seed),
        )
        draws = resamples(len(responds), settings["bootstrap"], seed)
        table = compare(scores, nested, responds, folds, draws)
        common = {"n": len(responds), "seeds": [seed], "weights": weights_of(files.metrics)}
        numbers = summarise(table, chance, pd.read_csv(files.funnel), common)
        figure = draw(table, chance)
        log.info("%s", table.groupby("protocol")["auroc"].max().round(3).to_dict())
    folder, target = Path(snakemake.output.numbers).parent, params.target
    status = f"not run: {reason}" if reason else "done"
    save_target(
        folder, target["id"], figure, table, numbers, target["caption"], params.simulated, status
    )


if __name__ == "__main__":
    run(main, globals())
