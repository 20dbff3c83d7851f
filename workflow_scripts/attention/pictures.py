"""How attention over tissues and the importance of markers are drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from workflow_scripts.common.cell_pictures import cell_picture, colours_of
from workflow_scripts.common.figures import PALETTE, figsize, scale_bar

MOST = 12  # markers drawn of a region
WORDS = {"as_printed": "as printed", "over_targets": "over targets"}


def draw_tissue(axes, tissue, cells, colours, maps, limits, letter, windows, side):
    """Draw the cells of a tissue with its regions, and its maps beside, each with its scale."""
    mask = tissue.cell_mask()
    height, width = tissue.file.shape[1:]
    titles = (f"{letter}  {tissue.id}", "attention", "for its place")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_title(title, loc="left", fontsize=6)
    if mask is not None:
        axes[0].imshow(cell_picture(mask, cells, colours))
    for place, (row, col) in enumerate(windows, 1):
        axes[0].add_patch(Rectangle((col, row), side, side, fill=False, lw=0.8))
        box = {"facecolor": "white", "pad": 0.6, "lw": 0}
        axes[0].annotate(place, (col + 3, row + 3), va="top", fontsize=5, bbox=box)
    labels = ("times a flat map", "times its mean there")
    rows = zip(axes[1:], maps, limits, ("viridis", "PuOr_r"), labels, strict=True)
    for axis, attention, (low, high), palette, label in rows:
        extent = (0, width, height, 0)
        image = axis.imshow(attention, vmin=low, vmax=high, extent=extent, cmap=palette)
        bar = axis.figure.colorbar(image, ax=axis, location="bottom", shrink=0.85, aspect=18)
        bar.set_label(label, fontsize=6)
        bar.ax.tick_params(labelsize=5)
        bar.outline.set_visible(False)
    for axis in axes:
        axis.set(xlim=(0, width), ylim=(height, 0), aspect="equal", anchor="N")
    scale_bar(axes[1])


def draw_region(axis, rows, region, letter):
    """Draw the most important markers of a region, the highest first, by both scores."""
    axis.set_title(f"{letter}  {region['name']}", loc="left")
    if rows.empty:
        axis.set(xticks=[], yticks=[])
        axis.text(0.5, 0.5, "no such region", transform=axis.transAxes, ha="center")
        return
    rows = rows.sort_values("as_printed", ascending=False, kind="stable").head(MOST)
    for scoring, shape in (("as_printed", "o"), ("over_targets", "D")):
        values = rows[scoring] / max(rows[scoring].max(), 1e-12)
        filled = {} if scoring == "as_printed" else {"mfc": "none"}
        shade = PALETTE["scorings"][scoring]
        axis.plot(values, range(len(rows)), shape, color=shade, label=WORDS[scoring], **filled)
    axis.set_yticks(range(len(rows)), rows["marker"])
    for text in axis.get_yticklabels():
        text.set_weight("bold" if text.get_text() in region["named"] else "normal")
    axis.set(ylim=(len(rows) - 0.5, -0.5), xlim=(-0.03, 1.05), xlabel="importance / largest")
    axis.grid(axis="y")


def draw(shown, ratings, cells, maps, cohort, attention, side):
    """Return the figure: cells and maps of each of two tissues, and three regions of the second."""
    figure = plt.figure(figsize=figsize(183, 106), layout="constrained")
    upper, lower = figure.add_gridspec(2, 1, height_ratios=[1, 1.05])
    tissues = upper.subgridspec(1, 6).subplots().reshape(2, 3)
    panels = lower.subgridspec(1, 3).subplots()
    files = {tissue.id: tissue for tissue in cohort.tissues() if tissue.id in shown}
    label = attention["label"]
    colours = colours_of(cells[label].dropna()) if label in cells else {}
    both = [np.concatenate([maps[tissue][kind].ravel() for tissue in shown]) for kind in (0, 1)]
    spread = max(np.quantile(np.abs(both[1] - 1), 0.99), 1e-6)
    limits = (np.quantile(both[0], [0.01, 0.99]), (1 - spread, 1 + spread))
    own = ratings[ratings["tissue_id"] == shown[1]]
    for place, (tissue, letter) in enumerate(zip(shown, "ab", strict=True)):
        here = cells[cells["tissue_id"] == tissue].set_index("cell_id")
        windows = []
        if place == 1:
            firsts = own.dropna(subset=["row"]).groupby("region", sort=False).first()
            names = [region["name"] for region in attention["regions"]]
            windows = [firsts.loc[name, ["row", "col"]] for name in names if name in firsts.index]
        kinds = here[label] if label in here else pd.Series(index=here.index, dtype=object)
        draw_tissue(
            tissues[place],
            files[tissue],
            kinds,
            colours,
            maps[tissue],
            limits,
            letter,
            windows,
            side,
        )
    for place, region in enumerate(attention["regions"]):
        rows = own[own["region"] == region["name"]]
        draw_region(panels[place], rows, region, f"c{place + 1}")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    points, texts = panels[0].get_legend_handles_labels()
    figure.legend([*handles, *points], [*colours, *texts], loc="outside lower center", ncols=9)
    return figure
