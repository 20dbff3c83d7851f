"""Cells of the transferred signatures by the immune phenotype of their tumour (Fig. 5i)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu

from workflow_scripts.biomarkers.risk_scores import SIGNS
from workflow_scripts.biomarkers.transferred import read_transfer, save
from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.figures import colour, figsize, style
from workflow_scripts.common.job import run
from workflow_scripts.common.numbers import not_run, number, weights_of

INFLAMED = "inflamed"
ALL = "all cells"
HATCHES = {"inflamed": "", "excluded": "////", "cold": "...."}


def phenotype_shares(cells, patients, phenotypes, repeats, seed):
    """Return the share of each signature's cells, and of all, in tumours of each phenotype.

    Tidy rows: signature, phenotype, share, low, high, cells, patients; patients are resampled.
    """
    owners = patients.dropna(subset="phenotype").reset_index(drop=True)
    place = pd.Series(owners.index, index=owners["patient_id"])
    cells = cells[cells["patient_id"].isin(place.index)]
    codes = cells["patient_id"].map(place).to_numpy(int)
    weights = resamples(len(owners), repeats, seed)
    rows = []
    for signature in (*SIGNS, ALL):
        inside = np.ones(len(cells)) if signature == ALL else cells[signature].to_numpy(float)
        held = np.bincount(codes, inside, len(owners))
        for phenotype in phenotypes:
            here = (owners["phenotype"] == phenotype).to_numpy()
            with np.errstate(invalid="ignore", divide="ignore"):
                share = held[here].sum() / held.sum() if held.sum() else np.nan
                low, high = interval(weights @ (held * here) / (weights @ held))
            row = {"signature": signature, "phenotype": phenotype, "share": share}
            row |= {"low": low, "high": high, "cells": int(held.sum())}
            rows.append(row | {"patients": int((held > 0).sum())})
    return pd.DataFrame(rows)


def patient_ps(patients):
    """Return each signature's one-sided p: patients of inflamed tumours have more of its cells.

    Fewer, if it speaks against response. NaN without both kinds of patients.
    """
    known = patients.dropna(subset="phenotype")
    inflamed = (known["phenotype"] == INFLAMED).to_numpy()
    if inflamed.all() or not inflamed.any():
        return dict.fromkeys(SIGNS, np.nan)
    sides = {1: "greater", -1: "less"}
    return {
        name: mannwhitneyu(
            known.loc[inflamed, f"share_{name}"],
            known.loc[~inflamed, f"share_{name}"],
            alternative=sides[sign],
        ).pvalue
        for name, sign in SIGNS.items()
    }


def summarise(table, patients, forests, seed, weights):
    """Return the entries; C154: most cells of RS lie in inflamed tumours, most of NRS outside."""
    shared, numbers = {"seeds": [seed], "weights": weights}, {}
    everywhere = table[table["signature"] == ALL].set_index("phenotype")["share"]
    for row in table.itertuples():
        careful = (everywhere[row.phenotype], "share of all cells")
        key = f"share_{row.signature}_{row.phenotype}".replace(" ", "_")
        if np.isnan(row.share):
            numbers[key] = not_run(f"no cell is called {row.signature}")
            continue
        careful = None if row.signature == ALL else careful
        ends = row.low, row.high
        numbers[key] = number(row.share, *ends, n=row.patients, careful=careful, **shared)
    for name, facts in forests.items():
        printed, unseen = facts["held_out_cells"], facts["unseen_patients"]
        for what in ("precision", "recall"):
            key, careful = f"{what}_{name}", None
            if unseen[what] is not None:
                low, high = unseen[f"{what}_interval"]
                ends = "" if low is None else f" ({low:.2g} to {high:.2g})"
                words = "patients held out, at true prevalence (T4)"
                careful = (unseen[what], words)
                reason = f"with patients held out {unseen[what]:.3g}{ends}, "
                reason += f"where {unseen['prevalence']:.2g} of the cells are members"
            else:
                reason = "none is called with patients held out"
            if printed[what] is None:
                numbers[key] = not_run("no held-out cell is called")
            else:
                numbers[key] = number(printed[what], careful=careful, reason=reason, **shared)
    inside = table[table["phenotype"] == INFLAMED].set_index("signature")["share"]
    found = [inside.get(name, np.nan) for name in SIGNS]
    if np.isnan(found).any():
        return numbers | {"C154": not_run("a signature has no cell in tumours with a phenotype")}
    holds = all(
        (share > 0.5) == (SIGNS[name] > 0) for name, share in zip(SIGNS, found, strict=True)
    )
    ps = patient_ps(patients)
    worst = max(ps, key=lambda name: ps[name])
    careful = (ps[worst], f"largest p over signatures ({worst}), between patients' shares")
    careful = careful if np.isfinite(ps[worst]) else None
    n = int(patients["phenotype"].notna().sum())
    return numbers | {"C154": number(holds, n=n, careful=careful, **shared)}


def draw(table, phenotypes):
    """Return the figure: stacked shares of each signature and of all cells."""
    figure, axis = plt.subplots(figsize=figsize(89, 55))
    figure.get_layout_engine().set(w_pad=0.06)
    names = list(dict.fromkeys(table["signature"]))
    left = np.zeros(len(names))
    for phenotype in phenotypes:
        rows = table[table["phenotype"] == phenotype].set_index("signature").loc[names]
        share = rows["share"].fillna(0).to_numpy()
        shade = colour("immune_phenotypes", phenotype)
        style = {"color": shade, "hatch": HATCHES.get(phenotype, ""), "edgecolor": "white"}
        axis.barh(range(len(names)), share, 0.7, left, label=phenotype, **style)
        for y, width in enumerate(share):
            if width > 0.08:
                where = (left[y] + width / 2, y)
                box = {"boxstyle": "square,pad=0.15", "fc": "white", "lw": 0}
                axis.annotate(f"{width:.0%}", where, ha="center", va="center", fontsize=5, bbox=box)
        left += share
    cells = table.drop_duplicates("signature").set_index("signature")["cells"]
    axis.set_yticks(range(len(names)), [f"{n}\n{cells[n]:,} cells" for n in names], fontsize=5)
    axis.invert_yaxis()
    axis.set(xlim=(0, 1), xlabel="share of cells in tumours of each immune phenotype")
    figure.legend(loc="outside upper center", ncols=len(phenotypes))
    return figure


def main(snakemake):
    """Draw the shares; where the cohort has no phenotypes, say so."""
    style()
    params, files = snakemake.params, snakemake.input
    patients, facts, reason = read_transfer(files, params.reason)
    if not reason:
        reason = facts["absent"].get("phenotype", "")
        if not reason and patients["phenotype"].isna().all():
            reason = "no patient with tumour cells has an immune phenotype"
    if reason:
        save(snakemake, None, None, {}, reason)
        return
    phenotypes = [p for p in params.phenotypes if (patients["phenotype"] == p).any()]
    cells = pd.read_parquet(files.cells)
    table = phenotype_shares(cells, patients, phenotypes, params.bootstrap, params.seed)
    weights = weights_of(files.metrics)
    numbers = summarise(table, patients, facts["forests"], params.seed, weights)
    save(snakemake, draw(table, phenotypes), table, numbers)


if __name__ == "__main__":
    run(main, globals())
