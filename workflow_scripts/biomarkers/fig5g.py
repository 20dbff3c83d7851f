"""Neighbours of three cell types inside and outside response signatures (Fig. 5g)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.biomarkers.found import read_cells, read_facts
from workflow_scripts.biomarkers.neighbours import compare, find_pairs
from workflow_scripts.common.cell_pictures import cell_picture
from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.figures import colour, figsize, save_target, scale_bar, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.numbers import not_run, number, weights_of

CLAIMS = {
    "C090": ("RS1", "apoptotic cell", "CD4 T cell"),
    "C091": ("RS1", "apoptotic cell", "PD-L1+GZMB+ cell"),
    "C092": ("RS1", "B / plasma cell", "PD-L1+GZMB+ cell"),
    "C093": ("RS1", "B / plasma cell", "EMT-like tumor"),
    "C094": ("RS2", "CD4 T cell", "tumor"),
    "C095": ("RS2", "CD4 T cell", "MHC-I&II+ cell"),
    "C096": ("RS2", "CD4 T cell", "PD-L1+GZMB+ cell"),
    "C097": ("RS2", "CD4 T cell", "CD8 T cell"),
}
BOTH = "C153"
PAIRED = "p, paired Wilcoxon over patients, Benjamini-Hochberg over neighbours (T10)"
OUTSIDE = "#BDBDBD"
STARS = "p < 0.05: * z-test, † over patients"


def summarise(table, common, who):
    """Return the entries of numbers.json, the paper's statements among them; `who`: neighbours."""
    by = {(row.signature, row.cell_type, row.neighbour): row for row in table.itertuples()}
    numbers = {}
    for row in table[table["shown"]].itertuples():
        key = f"change_{row.signature}_{row.cell_type}_{row.neighbour}".replace(" ", "_")
        numbers[key] = _entry(row, common, who)
    for claim, key in CLAIMS.items():
        row = by.get(key)
        if row is None or not np.isfinite(row.change_percent):
            reason = f"no {key[1]} of {key[0]} or none outside it has a neighbour to compare with"
            if row is None:
                reason = f"no pre-treatment cell has the type {key[2]}"
            elif row.pairs_inside:
                reason = f"no {key[1]} outside {key[0]} has a {key[2]} as neighbour"
            numbers[claim] = not_run(reason)
            continue
        numbers[claim] = _entry(row, common, who)
    rows = [by.get(CLAIMS[claim]) for claim in ("C090", "C091")]
    if any(row is None or np.isnan(row.z_test_p) for row in rows):
        numbers[BOTH] = not_run("the neighbours of one of the two types cannot be compared")
        return numbers
    careful = max(row.adjusted_p for row in rows)
    numbers[BOTH] = number(
        max(row.z_test_p for row in rows),
        careful=None if np.isnan(careful) else (careful, PAIRED),
        reason="the larger p of the two",
        contrary=any(row.change_percent < 0 for row in rows),
        **common | {"n": rows[0].patients},
    )
    return numbers


def _entry(row, common, who):
    careful = None if np.isnan(row.adjusted_p) else (row.adjusted_p, PAIRED)
    ends = (row.low, row.high) if np.isfinite([row.low, row.high]).all() else (None, None)
    reason = f"z-test p = {row.z_test_p:.3g}; {who}"
    status = "done" if np.isfinite(row.change_percent) else "not run: no such neighbour outside"
    common = common | {"n": row.patients, "careful": careful, "reason": reason, "status": status}
    return number(row.change_percent, *ends, **common)


def example(cells, signature, cell_type, window):
    """Return the tissue and the centre (x, y in um) of an example, or None without such a cell.

    The tissue is the one of median number of such cells among those with any, its centre the cell
    with the most of them within the window: no eye chooses (D30).
    """
    own = cells[cells[signature] & (cells["label"] == cell_type)]
    counts = own["tissue_id"].value_counts(sort=False).sort_index().sort_values(kind="stable")
    if counts.empty:
        return None
    tissue = counts.index[len(counts) // 2]
    places = own.loc[own["tissue_id"] == tissue, ["x", "y"]].to_numpy()
    near = (np.abs(places[:, None] - places) <= window / 2).all(axis=2).sum(axis=1)
    return tissue, places[near.argmax()]


def draw(table, examples, panels):
    """Return the figure: a column per panel, shares of neighbours above, an example below."""
    figure, axes = plt.subplots(
        2, len(panels), figsize=figsize(183, 105), squeeze=False, height_ratios=[1, 1.25]
    )
    for (bars, picture), panel in zip(axes.T, panels, strict=True):
        words = f"{panel['cell_type']} in {panel['signature']}"
        rows = table[(table["signature"] == panel["signature"]) & table["shown"]]
        rows = rows[rows["cell_type"] == panel["cell_type"]].sort_values("share_inside")
        _draw_bars(bars, rows, colour("groups", panel["signature"]))
        patients = rows["patients"].iloc[0] if len(rows) else 0
        bars.set_title(
            f"{words}\n(inside and outside: {patients} patients)", loc="left", fontsize=6
        )
        picture.set_axis_off()
        one = examples[panel["signature"], panel["cell_type"]]
        if one is None:
            picture.annotate("no such cell", (0.5, 0.5), xycoords="axes fraction", ha="center")
            continue
        picture.imshow(one["picture"], interpolation="nearest")
        picture.set_ylim(1.2 * len(one["picture"]), 0)  # room for the scale bar
        scale_bar(picture, colour="black")
        picture.plot(one["x"], one["y"], "o", mfc="white", mec="black", ms=2.5, mew=0.5)
        picture.set_title(f"{one['tissue']}; dots: {words}", loc="left", fontsize=5)
    kinds = sorted({kind for one in examples.values() if one for kind in one["types"]})
    patches = [plt.Rectangle((0, 0), 1, 1, color=colour("cell_types", kind)) for kind in kinds]
    figure.legend(patches, kinds, loc="outside lower center", ncols=6)
    sides = [plt.Rectangle((0, 0), 1, 1, color=shade) for shade in ("#0072B2", OUTSIDE)]
    words = ["inside (colour of the signature)", f"outside; {STARS}"]
    figure.legend(sides, words, loc="outside upper center", ncols=2)
    return figure


def _draw_bars(axis, rows, shade):
    for shift, side, face in ((0.2, "inside", shade), (-0.2, "outside", OUTSIDE)):
        values = 100 * rows[f"share_{side}"].fillna(0)
        axis.barh(np.arange(len(rows)) + shift, values, 0.4, color=face)
    for y, row in enumerate(rows.itertuples()):
        x = 100 * np.nanmax([row.share_inside, row.share_outside, 0]) + 1
        stars = ("*" if row.z_test_p < 0.05 else "") + ("†" if row.adjusted_p < 0.05 else "")
        text = f"{row.change_percent:+.0f} %{stars}" if np.isfinite(row.change_percent) else "–"
        axis.annotate(text, (x, y), va="center", fontsize=5)
    axis.set_yticks(range(len(rows)), rows["neighbour"])
    axis.set_xlabel("share of neighbours (%)")
    axis.set_xlim(0, max(10, 1.3 * axis.get_xlim()[1]))


def cut_example(cohort, cells, panel, window):
    """Return the picture of an example with its signature cells, or None without one."""
    found = example(cells, panel["signature"], panel["cell_type"], window)
    if found is None:
        return None
    tissue, centre = found
    mask = next(one for one in cohort.tissues() if one.id == tissue).cell_mask()
    side = [min(int(window), size) for size in mask.shape]
    top, left = (
        int(np.clip(c - s / 2, 0, size - s))
        for c, s, size in zip(centre[::-1], side, mask.shape, strict=True)
    )
    own = cells[cells["tissue_id"] == tissue].set_index("cell_id")
    labels = own["label"]
    colours = {kind: colour("cell_types", kind) for kind in labels.dropna().unique()}
    marked = own[own[panel["signature"]] & (labels == panel["cell_type"])]
    x, y = marked["x"] - left, marked["y"] - top
    within = x.between(0, side[1] - 1) & y.between(0, side[0] - 1)
    part = mask[top : top + side[0], left : left + side[1]]
    types = labels.reindex(np.unique(part)).dropna().unique()
    picture = cell_picture(part, labels, colours)
    return {"tissue": tissue, "picture": picture, "types": types, "x": x[within], "y": y[within]}


def main(snakemake):
    """Count neighbours for every panel and cut out the examples."""
    style()
    files, params = snakemake.input, snakemake.params
    _, _, reason = read_facts(files.facts)
    figure, table, target, settings = None, None, params.target, params.settings
    numbers = {claim: not_run(reason) for claim in target["claims"]} if reason else {}
    if not reason:
        cells = read_cells(files.cells, files.signatures)
        pairs, who = find_pairs(cells, files.graph or None, settings["radius"])
        panels, cohort = settings["shown"], CohortFiles(params.cohort_folder)
        rest = settings["frequent"], params.bootstrap, params.seed
        tables = [compare(cells, pairs, *panel.values(), *rest) for panel in panels]
        table = pd.concat(tables, ignore_index=True)
        examples = {
            (panel["signature"], panel["cell_type"]): cut_example(
                cohort, cells, panel, settings["window"]
            )
            for panel in panels
        }
        common = {"seeds": [params.seed], "weights": weights_of(files.metrics)}
        numbers, figure = summarise(table, common, who), draw(table, examples, panels)
        log.info("%d pairs among %d cells: %s", len(pairs) // 2, len(cells), who)
    folder = Path(snakemake.output.numbers).parent
    status = f"not run: {reason}" if reason else "done"
    save_target(
        folder, target["id"], figure, table, numbers, target["caption"], params.simulated, status
    )


if __name__ == "__main__":
    run(main, globals())
