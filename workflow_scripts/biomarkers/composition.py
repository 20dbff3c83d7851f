"""Cell types inside each signature beside all pre-treatment cells (Fig. 5f, Suppl. Fig. 22)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.biomarkers import enrichment
from workflow_scripts.biomarkers.found import read_cells, read_facts
from workflow_scripts.biomarkers.selection import NAMES
from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.numbers import not_run, number, weights_of

CLAIMS = {
    "C080": ("RS1", "apoptotic cell"),
    "C081": ("RS1", "DNA-damaged cell"),
    "C082": ("RS1", "PD-L1+GZMB+ cell"),
    "C083": ("RS2", "CD4 T cell"),
    "C084": ("RS2", "PD-L1+GZMB+ cell"),
    "C085": ("RS2", "PD-L1+IDO+ cell"),
    "C086": ("NRS1", "tumor"),
    "C087": ("NRS2", "tumor"),
    "C088": ("NRS1", "fibroblasts"),
    "C089": ("NRS2", "CD4 T cell"),
}
DOMINANT = "C152"
SIGNIFICANT = 0.05
LIMIT = 8  # factors beyond have the colour of this one
PAIRED = "paired Wilcoxon over patients, Benjamini-Hochberg over cell types (T10)"


def measure(cells, repeats, seed):
    """Return a tidy table: per signature and cell type the shares, relative change and tests.

    `cells`: patient_id, label and a bool column per signature; cells without a label do not count.
    The change is relative to all cells, as printed; intervals resample patients.
    """
    cells = cells[cells["label"].notna()]
    owners, patients = pd.factorize(cells["patient_id"])
    codes, types = pd.factorize(cells["label"], sort=True)
    everywhere = enrichment.counts_by(owners, codes, len(patients), len(types))
    draws, tables = resamples(len(patients), repeats, seed), []
    for name in NAMES:
        own = cells[name].to_numpy(bool)
        inside = enrichment.counts_by(owners[own], codes[own], len(patients), len(types))
        drawn = enrichment.resampled_change(inside, everywhere, draws)
        ends = np.array([interval(column) for column in drawn.T], float)
        share, overall = (enrichment.shares(table.sum(axis=0)) for table in (inside, everywhere))
        p = enrichment.paired_p(inside, everywhere)
        table = {
            "signature": name,
            "cell_type": types,
            "cells": inside.sum(axis=0),
            "share": share,
            "share_of_all": overall,
            "change_percent": enrichment.relative_change(share, overall),
            "low": ends[:, 0],
            "high": ends[:, 1],
            "patients": int((inside.sum(axis=1) > 0).sum()),
            "wilcoxon_p": p,
            "adjusted_p": enrichment.adjusted(p),
        }
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def summarise(table, claims, tumour, common):
    """Return the entries of numbers.json: every change, and the paper's statements on some."""
    numbers = {}
    for row in table.itertuples():
        key = f"change_{row.signature}_{row.cell_type}".replace(" ", "_")
        numbers[key] = _entry(row, common)
    by = {(row.signature, row.cell_type): row for row in table.itertuples()}
    for claim, pair in CLAIMS.items():
        if claim in claims:
            absent = not_run(f"no pre-treatment cell has the type {pair[1]}")
            numbers[claim] = _entry(by[pair], common) if pair in by else absent
    if DOMINANT in claims:
        numbers[DOMINANT] = _dominance(table, tumour, common)
    return numbers


def _dominance(table, tumour, common):
    """Return whether tumour cells are the commonest of both NRS and all other lineages depleted."""
    rows = table[table["signature"].isin(["NRS1", "NRS2"]) & table["share"].notna()]
    first = rows.loc[rows.groupby("signature")["share"].idxmax(), "cell_type"]
    if len(first) < 2:
        return not_run("a non-response signature has no cell with a type")
    other = rows[~rows["cell_type"].isin(tumour)]
    enriched = other.loc[other["change_percent"] >= 0, "cell_type"].unique()
    reason = "not depleted in one of them: " + ", ".join(enriched) if len(enriched) else None
    holds = first.isin(tumour).all() and not len(enriched)
    return number(holds, n=int(rows["patients"].min()), reason=reason, **common)


def _entry(row, common):
    careful = None if np.isnan(row.adjusted_p) else (row.adjusted_p, f"p, {PAIRED}")
    common = common | {"n": row.patients, "careful": careful}
    ends = (row.low, row.high) if np.isfinite([row.low, row.high]).all() else (None, None)
    if np.isnan(row.change_percent):
        return not_run(f"{row.signature} has no cell with a type")
    return number(row.change_percent, *ends, **common)


def draw_shares(table):
    """Return bars of the share of each type inside a signature, a tick for that of all cells."""
    order = table.drop_duplicates("cell_type").sort_values("share_of_all")["cell_type"]
    size = figsize(183, 16 + 4.2 * len(order))
    figure, axes = plt.subplots(1, len(NAMES), figsize=size, sharey=True, sharex=True)
    for axis, name in zip(axes, NAMES, strict=True):
        rows = table[table["signature"] == name].set_index("cell_type").loc[order]
        axis.barh(range(len(order)), 100 * rows["share"], color=colour("groups", name), height=0.7)
        axis.plot(100 * rows["share_of_all"], range(len(order)), "|", color="black", ms=6, mew=1)
        for y, row in enumerate(rows.itertuples()):
            star = "*" if row.adjusted_p < SIGNIFICANT else ""
            x = 100 * max(row.share, row.share_of_all) + 2
            axis.annotate(f"{row.change_percent:+.0f} %{star}", (x, y), va="center", fontsize=5)
        axis.set_title(f"{name} ({rows['cells'].sum():,} cells)", loc="left")
        axis.set_xlabel("share of cells (%)")
    axes[0].set_yticks(range(len(order)), order)
    axes[0].set_xlim(0, 130 * np.nanmax(table[["share", "share_of_all"]].to_numpy()))
    axes[0].plot(
        [], [], "|", color="black", ms=6, mew=1, label="share of all cells before treatment"
    )
    axes[0].plot([], [], " ", label="* p < 0.05 over patients, Benjamini-Hochberg")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def draw_changes(table):
    """Return the heat map of relative changes; colour is the logarithm of their factor."""
    order = table.drop_duplicates("cell_type").sort_values("share_of_all", ascending=False)
    wide, p = (
        table.pivot(index="cell_type", columns="signature", values=column)
        .loc[order["cell_type"], list(NAMES)]
        .to_numpy()
        for column in ("change_percent", "adjusted_p")
    )
    factor = np.log2(np.clip(1 + wide / 100, 1 / LIMIT, LIMIT))
    figure, axis = plt.subplots(figsize=figsize(89, 22 + 4.6 * len(order)))
    ends = {"vmin": -np.log2(LIMIT), "vmax": np.log2(LIMIT)}
    image = axis.imshow(factor, cmap="RdBu_r", aspect="auto", **ends)
    for (y, x), value in np.ndenumerate(wide):
        shade = "white" if abs(factor[y, x]) > 0.6 * ends["vmax"] else "black"
        text = f"{value:+.0f}{'*' if p[y, x] < SIGNIFICANT else ''}"
        axis.text(x, y, text, ha="center", va="center", fontsize=5, color=shade)
    axis.set_xticks(range(len(NAMES)), NAMES)
    axis.set_yticks(range(len(order)), order["cell_type"])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title("relative change (%), * p < 0.05 over patients", loc="left", fontsize=6)
    bar = figure.colorbar(image, label="share over share of all cells", shrink=0.5, extend="both")
    bar.set_ticks(np.log2([1 / LIMIT, 0.5, 1, 2, LIMIT]), labels=["1/8", "1/2", "1", "2", "8"])
    return figure


def main(snakemake):
    """Measure the composition and draw it as this target shows it."""
    style()
    files, params = snakemake.input, snakemake.params
    _, _, reason = read_facts(files.facts)
    figure, table, target = None, None, params.target
    numbers = {claim: not_run(reason) for claim in target["claims"]} if reason else {}
    if not reason:
        cells = read_cells(files.cells, files.signatures)
        table = measure(cells, params.bootstrap, params.seed)
        common = {"seeds": [params.seed], "weights": weights_of(files.metrics)}
        numbers = summarise(table, target["claims"], params.tumour, common)
        figure = (draw_shares if params.kind == "shares" else draw_changes)(table)
        log.info("%d cell types of %d cells", table["cell_type"].nunique(), len(cells))
    folder = Path(snakemake.output.numbers).parent
    status = f"not run: {reason}" if reason else "done"
    save_target(
        folder, target["id"], figure, table, numbers, target["caption"], params.simulated, status
    )


if __name__ == "__main__":
    run(main, globals())
