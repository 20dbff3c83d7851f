"""Risk from survival alone, without the tissue: its curves and its structures (Suppl. Fig. 18)."""

import matplotlib.pyplot as plt
import pandas as pd

from workflow_scripts.common.figures import colour, figsize, style
from workflow_scripts.common.job import run
from workflow_scripts.common.numbers import not_run, number
from workflow_scripts.common.survival import draw_kaplan_meier
from workflow_scripts.patients.results import (
    legend_above,
    letter,
    read_facts,
    save,
    sources_of,
    structures_of,
)
from workflow_scripts.patients.strata import RISKS, survival_only
from workflow_scripts.patients.structures import draw_ratios, key, ratio_number, risk_ratios

CLAIM = {"Suppressed expansion": "C049"}
COVERS = {"Vascular stroma": "C118", "APC enriched": "C119"}  # the interval holds 1
CUTS = {"sizes of the model's groups": "o", "median censored time": "s"}  # D25


def covers_one(row, other):
    """Return the entry of whether the interval of a risk ratio holds 1; `other`: by the median."""
    if pd.isna(row["low"]) or pd.isna(row["high"]):
        return not_run("the risk ratio has no interval")
    held = [float(r["low"] <= 1 <= r["high"]) for r in (row, other)]
    said = f"interval {row['low']:.3g} to {row['high']:.3g}"
    careful = (held[1], "cut at the median censored time (D25)")
    return number(held[0], n=row["n_high"] + row["n_low"], careful=careful, reason=said)


def summarise(tables, cuts):
    """Return the entries; `tables` and `cuts` by how early censoring is defined, headline first."""
    table, other = tables.values()
    numbers = {}
    for (_, row), (_, beside) in zip(table.iterrows(), other.iterrows(), strict=True):
        value = beside["risk_ratio"]
        careful = (value, "cut at the median censored time (D25)") if pd.notna(value) else None
        entry = CLAIM.get(row["structure"], key(row["structure"]))
        numbers[entry] = ratio_number(row, careful=careful)
        if row["structure"] in COVERS:
            numbers[COVERS[row["structure"]]] = covers_one(row, beside)
    for words, cut in cuts.items():
        found = not_run("nobody is censored") if pd.isna(cut) else number(cut)
        numbers[f"cut_{key(words)}"] = found
    return numbers


def draw(follow, risks, tables, cuts, unit):
    """Return the figure: survival of the headline's groups, risk ratios by both cuts."""
    figure, (left, right) = plt.subplots(1, 2, figsize=figsize(183, 92))
    figure.get_layout_engine().set(w_pad=0.08)  # long labels are wider in print than on a screen
    risk = next(iter(risks.values()))
    groups = {r: (follow[risk == r], colour("groups", r.replace(" ", "_"))) for r in RISKS}
    draw_kaplan_meier(left, {k: v for k, v in groups.items() if len(v[0])}, unit)
    cut = next(iter(cuts.values()))
    left.axvline(cut, color="#444444", ls=":", lw=0.7)
    legend_above(left, f"dotted: censored before {cut:.3g} {unit} is early")
    tones = ("#0072B2", "#999999")
    shades = {words: (t, s) for (words, s), t in zip(CUTS.items(), tones, strict=True)}
    draw_ratios(right, tables, shades)
    legend_above(right, "early censored, by", ncols=2)
    letter(left, "a")
    letter(right, "b")
    return figure


def main(snakemake):
    """Form groups from survival alone and set their structures beside the paper's."""
    style()
    params, files = snakemake.params, snakemake.input
    reason, _ = read_facts(files.facts)
    if reason is None:
        patients = pd.read_parquet(files.patients).set_index("patient_id", drop=False)
        counts = structures_of(files.structures, patients)
        if not counts.to_numpy().any():
            reason = "no cell of these patients has a tissue structure"
    if reason:
        save(snakemake, None, None, {}, reason)
        return
    follow = patients[["time", "event"]]
    size = int((patients[f"risk_{sources_of(patients)[0]}"] == RISKS[0]).sum())
    found = dict(zip(CUTS, (survival_only(follow, size), survival_only(follow)), strict=True))
    risks, cuts = ({words: pair[i] for words, pair in found.items()} for i in (0, 1))
    share, repeats, seed = params.structure_share, params.bootstrap, params.seed
    tables = {
        words: risk_ratios(counts, patients["cells"], risk, share, repeats, seed)
        for words, risk in risks.items()
    }
    figure = draw(follow, risks, tables, cuts, params.unit)
    chosen = patients[["patient_id", "time", "event"]].assign(risk=next(iter(risks.values())))
    parts = {"patients": chosen} | tables
    source = pd.concat([part.assign(table=words) for words, part in parts.items()])
    save(snakemake, figure, source, summarise(tables, cuts))


if __name__ == "__main__":
    run(main, globals())
