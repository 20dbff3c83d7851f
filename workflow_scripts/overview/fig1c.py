"""Patients, images, sub-images and cells of every cohort (Fig. 1c)."""

from pathlib import Path

import matplotlib.pyplot as plt

from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import number, of_the_collection
from workflow_scripts.overview.sizes import MEASURES, read_sizes

CLAIMS = {"C001": "patients", "C002": "images", "C003": "sub_images", "C004": "cells"}


def size_numbers(sizes, missing):
    """Return the totals that the paper states; `n` is the number of cohorts counted.

    `sizes`: of the paper's cohorts, of which `missing` are not in this study.
    """
    numbers = {
        claim: number(sizes[measure].sum(), n=(sizes[measure] > 0).sum())
        for claim, measure in CLAIMS.items()
    }
    numbers["C009"] = number((sizes["cells"] > 0).sum(), n=len(sizes))
    return of_the_collection(numbers, missing)


def draw(sizes):
    """Return one bar chart per measure, cohorts in one order in all of them."""
    figure, axes = plt.subplots(
        1, len(MEASURES), figsize=figsize(183, 16 + 6 * len(sizes)), sharey=True
    )
    shades = [colour("cohorts", cohort) for cohort in sizes["cohort"]]
    names = [name(cohort) for cohort in sizes["cohort"]]
    for axis, (measure, title) in zip(axes, MEASURES.items(), strict=True):
        bars = axis.barh(names, sizes[measure], color=shades)
        axis.bar_label(bars, [f"{value:,}" for value in sizes[measure]], padding=2, fontsize=5)
        axis.set(title=title, xlim=(0, 1.35 * max(1, sizes[measure].max())))
        axis.xaxis.set_major_locator(plt.MaxNLocator(3, integer=True))
    axes[0].invert_yaxis()
    return figure


def main(snakemake):
    """Count and draw what passed the filters."""
    style()
    params = snakemake.params
    sizes = read_sizes(params.cohort_folders)
    save_target(
        Path(snakemake.output.numbers).parent,
        "fig1c",
        draw(sizes),
        sizes,
        size_numbers(sizes[sizes["cohort"].isin(params.compared)], params.missing),
        params.target["caption"],
        params.simulated,
    )


if __name__ == "__main__":
    run(main, globals())
