"""Cells on a map, coloured by their patient's risk, with contours of structures (Fig. 4b)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from scipy.stats import gaussian_kde

from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.figures import colour, figsize, style
from workflow_scripts.common.job import run
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.patients.results import read_facts, save
from workflow_scripts.patients.strata import RISKS
from workflow_scripts.patients.structures import key, words

GRID = 120  # points on a side, at which a density is evaluated
SHARES = (0.8, 0.5, 0.2)  # of a structure's cells that its contours hold
FEWEST = 10  # cells, below which a structure has no contours


def contours(points):
    """Return x [GRID], y [GRID], density [GRID, GRID] and levels that hold `SHARES` of points."""
    kernel = gaussian_kde(points.T)
    low, high = points.min(axis=0), points.max(axis=0)
    room = 0.15 * (high - low)
    x, y = np.linspace(low - room, high + room, GRID).T
    density = kernel(np.stack(np.meshgrid(x, y)).reshape(2, -1)).reshape(GRID, GRID)
    levels = np.quantile(kernel(points.T), [1 - share for share in SHARES])
    return x, y, density, levels


def draw(cells, structures):
    """Return the map; `structures` are those with contours."""
    figure, axis = plt.subplots(figsize=figsize(89, 84))
    shades = {risk: colour("groups", risk.replace(" ", "_")) for risk in RISKS}
    mixed = cells.sample(frac=1, random_state=0)  # so that neither group lies on top
    size = np.clip(4000 / len(cells), 0.3, 4)
    x, y, shade = mixed["umap_1"], mixed["umap_2"], mixed["risk"].map(shades)
    axis.scatter(x, y, size, shade, alpha=0.6, lw=0, rasterized=True)
    legend = [
        Line2D(
            [],
            [],
            marker="o",
            ls="",
            ms=3,
            color=shade,
            label=f"cells of {risk.replace(' ', '-')} patients",
        )
        for risk, shade in shades.items()
    ]
    for structure, line in zip(structures, ("-", "--", ":", "-."), strict=False):
        points = cells.loc[cells["structure"] == structure, ["umap_1", "umap_2"]].to_numpy(float)
        shade = colour("structures", structure)
        label = f"{words(structure)} ({len(points)} cells)"
        if len(points) < FEWEST:
            label = f"{words(structure)}: too few cells ({len(points)})"
        else:
            *grid, levels = contours(points)
            style = {"colors": [shade], "linestyles": line, "linewidths": 0.9}
            axis.contour(*grid, levels=np.unique(levels), **style)
        legend.append(Line2D([], [], color=shade, ls=line, label=label))
    axis.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
    axis.set_aspect("equal", "datalim")
    figure.legend(handles=legend, loc="outside upper left", ncols=2)
    return figure


def high_share(cells, structure, repeats, seed):
    """Return the share of a structure's cells that lie in high-risk patients, and its interval."""
    part = cells[cells["structure"] == structure]
    high = (part["risk"] == RISKS[0]).groupby(part["patient_id"])
    counts = high.agg(["sum", "count"]).to_numpy(float)
    draws = resamples(len(counts), repeats, seed) @ counts
    with np.errstate(invalid="ignore"):
        low_high = interval(draws[:, 0] / draws[:, 1])
    return counts[:, 0].sum() / counts[:, 1].sum(), *low_high, len(counts)


def main(snakemake):
    """Draw the map and say how much of each structure lies in high-risk patients."""
    style()
    params, files = snakemake.params, snakemake.input
    reason, _ = read_facts(files.facts)
    if reason:
        save(snakemake, None, None, {}, reason)
        return
    cells, numbers = pd.read_parquet(files.cells), {"cells_drawn": None}
    numbers["cells_drawn"] = number(len(cells), seeds=[params.seed])
    for structure in params.contours:
        name = f"high_risk_share_{key(structure)}"
        if (cells["structure"] == structure).any():
            value, low, high, n = high_share(cells, structure, params.bootstrap, params.seed)
            weights = weights_of(files.metrics)
            numbers[name] = number(value, low, high, n=n, seeds=[params.seed], weights=weights)
        else:
            numbers[name] = not_run(f"no cell is labelled {words(structure)}")
    save(snakemake, draw(cells, params.contours), cells, numbers)


if __name__ == "__main__":
    run(main, globals())
