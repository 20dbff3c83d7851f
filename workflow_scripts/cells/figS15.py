"""Number of labelled cells of each class in the benchmark cohorts, by split (Suppl. Fig. 15)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import number

SHADES = {"train": 0.45, "test": 1.0}  # of a cohort's colour


def class_sizes(cells, tissues, cohort, label):
    """Return one row per class: its train and test cells."""
    if label not in cells:
        return pd.DataFrame(columns=["class", "train", "test", "cohort", "label"])
    labelled = cells[["tissue_id", label]].dropna().merge(tissues[["tissue_id", "split"]])
    sizes = labelled.value_counts([label, "split"]).unstack(fill_value=0)
    sizes = sizes.reindex(columns=["train", "test"], fill_value=0).rename_axis("class")
    return sizes.reset_index().assign(cohort=cohort, label=label)


def draw(table):
    """Return the figure: a panel per task, bars on a logarithmic axis, test in the darker shade."""
    tasks = list(table.groupby(["cohort", "label"], sort=False))
    height = 18 + sum(10 + 3.6 * len(rows) for _, rows in tasks[::2])
    ratios = [max(len(rows) for _, rows in tasks[i : i + 2]) + 3 for i in range(0, len(tasks), 2)]
    figure, axes = plt.subplots(
        len(ratios),
        2,
        figsize=figsize(183, height),
        squeeze=False,
        sharex=True,
        height_ratios=ratios,
    )
    for axis in axes.ravel()[len(tasks) :]:
        axis.set_visible(False)
    for axis, ((cohort, label), rows) in zip(axes.ravel(), tasks, strict=False):
        rows = rows.assign(all=rows["train"] + rows["test"]).sort_values("all")
        y, shade = np.arange(len(rows)), colour("cohorts", cohort)
        for (split, alpha), place in zip(SHADES.items(), (0.2, -0.2), strict=True):
            axis.barh(y + place, rows[split], 0.38, color=shade, alpha=alpha)
        shares = 100 * rows["all"] / rows["all"].sum()
        texts = [f"{k} ({s:.1f} %)" for k, s in zip(rows["class"], shares, strict=True)]
        axis.set_yticks(y, texts)
        axis.set_xscale("log")
        axis.set_title(f"{name(cohort)}: {label.replace('_', ' ')}", loc="left")
    axes[0, 0].set_xlim(left=0.9)  # of all panels: a bar begins at one cell
    shades = [Patch(color="0.3", alpha=alpha, label=s) for s, alpha in SHADES.items()]
    figure.legend(handles=shades, loc="outside upper center", ncols=2)
    for axis in axes[-1]:
        axis.set_xlabel("labelled cells")
    return figure


def main(snakemake):
    """Draw the sizes of every probed granularity; without any labelled cell, say so."""
    style()
    files, params = snakemake.input, snakemake.params
    tables = [
        class_sizes(pd.read_parquet(cells), pd.read_parquet(tissues), *task)
        for task, cells, tissues in zip(params.tasks, files.cells, files.tissues, strict=True)
    ]
    table = pd.concat([t for t in tables if len(t)]) if any(map(len, tables)) else None
    figure, numbers, status = None, {}, "not run: no cohort of this study has labelled cells"
    if table is not None:
        figure, status = draw(table), "done"
        for (cohort, label), rows in table.groupby(["cohort", "label"], sort=False):
            cells = rows[["train", "test"]].sum(axis=1)
            key = f"{cohort}_{label}"
            numbers[f"labelled_cells_{key}"] = number(cells.sum(), n=len(rows))
            rarest = rows["class"].iloc[cells.argmin()]
            numbers[f"rarest_percent_{key}"] = number(
                100 * cells.min() / cells.sum(), n=cells.sum(), reason=f"class {rarest}"
            )
    folder = Path(snakemake.output.numbers).parent
    caption = params.target["caption"]
    save_target(folder, "figS15", figure, table, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
