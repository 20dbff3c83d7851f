"""How attention over tissues and the importance of markers are drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from workflow_scripts.common.cell_pictures import cell_picture, colours_of
from workflow_scripts.common.figures import PALETTE, figsize, scale_bar

MOST = 12  # markers drawn of a region
WORDS = {"as_printed": "as printed", "over_targets": "over targets"}


def draw_tissue(axes, tissue, cells, colours, maps, largest, letter, windows, side):
    """Draw the cells of a tissue with its regions, and its maps beside; return a map's image."""
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
    for axis, attention in zip(axes[1:], maps, strict=True):
        extent = (0, width, height, 0)
        image = axis.imshow(attention, vmin=0, vmax=largest, extent=extent)
    for axis in axes:
        axis.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    scale_bar(axes[1])
    return image


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
    figure = plt.figure(figsize=figsize(183, 98), layout="constrained")
    upper, lower = figure.add_gridspec(2, 1, height_ratios=[1, 1.5])
    tissues = upper.subgridspec(1, 6).subplots().reshape(2, 3)
    panels = lower.subgridspec(1, 3).subplots()
    files = {tissue.id: tissue for tissue in cohort.tissues() if tissue.id in shown}
    label = attention["label"]
    colours = colours_of(cells[label].dropna()) if label in cells else {}
    largest = max(np.quantile(maps[tissue], 0.99) for tissue in shown)
    own = ratings[ratings["tissue_id"] == shown[1]]
    for place, (tissue, letter) in enumerate(zip(shown, "ab", strict=True)):
        here = cells[cells["tissue_id"] == tissue].set_index("cell_id")
        windows = []
        if place == 1:
            firsts = own.dropna(subset=["row"]).groupby("region", sort=False).first()
            names = [region["name"] for region in attention["regions"]]
            windows = [firsts.loc[name, ["row", "col"]] for name in names if name in firsts.index]
        kinds = here[label] if label in here else pd.Series(index=here.index, dtype=object)
        image = draw_tissue(
            tissues[place],
            files[tissue],
            kinds,
            colours,
            maps[tissue],
            largest,
            letter,
            windows,
            side,
        )
    bar = figure.colorbar(image, ax=tissues[1, -1], shrink=0.8, aspect=20)
    bar.set_label("times a flat map")
    for place, region in enumerate(attention["regions"]):
        rows = own[own["region"] == region["name"]]
        draw_region(panels[place], rows, region, f"c{place + 1}")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    points, texts = panels[0].get_legend_handles_labels()
    figure.legend([*handles, *points], [*colours, *texts], loc="outside lower center", ncols=9)
    return figure
