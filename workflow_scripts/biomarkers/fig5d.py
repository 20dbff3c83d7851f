"""A map of pre-treatment cells by type, with contours of the signatures (Fig. 5d)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from scipy.stats import gaussian_kde
from umap import UMAP

from workflow_scripts.biomarkers.found import read_cells, read_facts
from workflow_scripts.biomarkers.selection import NAMES
from workflow_scripts.common.figures import PALETTE, colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.numbers import number, weights_of
from workflow_scripts.common.tokens import read_tokens

NEIGHBOURS = 15
INSIDE = 0.8  # share of a signature's cells within its contour
FEWEST = 5  # cells, below which there is no density
GRID = 120


def sample(cells, count, seed):
    """Return places of `count` random cells and of every cell of a signature, in order."""
    generator = np.random.default_rng(seed)
    drawn = generator.choice(len(cells), min(count, len(cells)), replace=False)
    return np.union1d(drawn, np.flatnonzero(cells[list(NAMES)].any(axis=1)))


def map_cells(tokens, seed):
    """Return the UMAP [n, 2] of tokens [n, width], by Euclidean distance as in the clustering."""
    neighbours = min(NEIGHBOURS, len(tokens) - 1)
    umap = UMAP(n_neighbors=neighbours, init="pca", random_state=seed, n_jobs=1)
    return umap.fit_transform(tokens)


def contour(points, limits):
    """Return x, y, density on a grid and the level that encloses `INSIDE` of the points, or None.

    `points` [n, 2]; `limits`: ((x low, x high), (y low, y high)).
    """
    if len(points) < FEWEST or np.linalg.matrix_rank(points - points.mean(axis=0)) < 2:
        return None
    density = gaussian_kde(points.T)
    x, y = (np.linspace(low, high, GRID) for low, high in limits)
    grid = density(np.stack(np.meshgrid(x, y)).reshape(2, -1)).reshape(GRID, GRID)
    return x, y, grid, np.quantile(density(points.T), 1 - INSIDE)


def draw(table):
    """Return the map: dots by cell type, a dashed line around each signature."""
    places = table[["umap_1", "umap_2"]].to_numpy()
    margin = 0.06 * np.ptp(places, axis=0)
    limits = list(zip(places.min(axis=0) - margin, places.max(axis=0) + margin, strict=True))
    (left, right), (bottom, top) = limits
    height = 80 * np.clip((top - bottom) / (right - left), 0.4, 1.0)
    figure, axis = plt.subplots(figsize=figsize(89, 30 + height))
    present = set(table["cell_type"].dropna())
    kinds = [kind for kind in PALETTE["cell_types"] if kind in present]
    kinds += sorted(present - set(kinds))
    order = np.random.default_rng(0).permutation(len(table))  # no type lies on top of the others
    shades = table["cell_type"].map({kind: colour("cell_types", kind) for kind in kinds})
    shades = shades.fillna(colour("cell_types", "other")).to_numpy()
    size = float(np.clip(8000 / len(table), 0.6, 5))
    axis.scatter(*places[order].T, size, shades[order], lw=0, rasterized=True)
    handles = []
    for name in NAMES:
        own = table[name].to_numpy(bool)
        line = contour(places[own], limits)
        if line is not None:
            *grid, level = line
            shade = colour("groups", name)
            axis.contour(*grid, [level], colors="white", linewidths=2.2)
            axis.contour(*grid, [level], colors=shade, linewidths=1.2, linestyles="--")
            handles.append(
                Line2D([], [], color=shade, ls="--", lw=1.2, label=f"{name} ({own.sum()})")
            )
    axis.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2", xlim=limits[0], ylim=limits[1])
    axis.set_aspect("equal", "box")
    dots = [
        Line2D([], [], ls="", marker="o", ms=3, color=colour("cell_types", kind), label=kind)
        for kind in kinds
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, handlelength=2.6)
    figure.legend(handles=dots, loc="outside lower center", ncols=3)
    return figure


def main(snakemake):
    """Embed a sample of the cells in two dimensions."""
    style()
    files, params = snakemake.input, snakemake.params
    signatures, _, reason = read_facts(files.facts)
    figure, table, numbers = None, None, {}
    if not reason:
        cells = read_cells(files.cells, files.signatures)
        cells = cells.iloc[sample(cells, params.cells, params.seed)].reset_index(drop=True)
        _, tokens = read_tokens(files.embeddings, "cells")
        points = map_cells(tokens.oindex[cells["position"].to_numpy(int)], params.seed)
        table = cells[["tissue_id", "cell_id", "label", *NAMES]].rename(
            columns={"label": "cell_type"}
        )
        table = table.assign(umap_1=points[:, 0], umap_2=points[:, 1])
        figure = draw(table)
        common = {"seeds": [params.seed], "weights": weights_of(files.metrics)}
        numbers = {
            f"cells_{name}": number(one["cells"], n=one["patients"], **common)
            for name, one in signatures.items()
        }
        numbers["cells_shown"] = number(len(table), n=cells["patient_id"].nunique(), **common)
        log.info("%d cells, %s", len(table), table[list(NAMES)].sum().to_dict())
    folder, target = Path(snakemake.output.numbers).parent, params.target
    status = f"not run: {reason}" if reason else "done"
    save_target(
        folder, target["id"], figure, table, numbers, target["caption"], params.simulated, status
    )


if __name__ == "__main__":
    run(main, globals())
