"""Number of images of each class of every clinical task (Suppl. Fig. 19)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.numbers import not_run, number
from workflow_scripts.common.tasks import tissues_of
from workflow_scripts.patients.problems import class_sizes, title_of

WIDE = 4  # panels of a row
LIGHT = 0.45  # opacity of the train split


def size_table(tables, tasks):
    """Return the sizes of all tasks as one table, and (cohort, task) -> why there are none."""
    sizes, reasons = [], {}
    for cohort, names in tasks.items():
        for task, definition in names.items():
            try:
                found = class_sizes(tables[cohort], definition, f"{cohort}: tasks.{task}")
            except InputError as error:
                reasons[cohort, task] = str(error)
                continue
            sizes.append(found.assign(cohort=cohort, task=task))
    columns = ["cohort", "task", "class", "train", "test"]
    return pd.concat(sizes)[columns] if sizes else pd.DataFrame(columns=columns), reasons


def draw(table):
    """Return the figure: a panel per task, the test split in the darker shade on the train's."""
    tasks = list(table.groupby(["cohort", "task"], sort=False))
    rows = -(-len(tasks) // WIDE)
    figure, axes = plt.subplots(
        rows,
        WIDE,
        figsize=figsize(183, 6 + 44 * rows),
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.ravel()[len(tasks) :]:
        axis.set_visible(False)
    for axis, ((cohort, task), sizes) in zip(axes.ravel(), tasks, strict=False):
        x, shade = np.arange(len(sizes)), colour("cohorts", cohort)
        total = sizes["train"] + sizes["test"]
        axis.bar(x, sizes["test"], 0.7, color=shade)
        axis.bar(x, sizes["train"], 0.7, bottom=sizes["test"], color=shade, alpha=LIGHT)
        for place, count in zip(x, total, strict=True):
            text = f"{count:,}\n{100 * count / total.sum():.0f} %"
            axis.annotate(text, (place, count), ha="center", va="bottom", fontsize=5)
        axis.set_xticks(x, sizes["class"], rotation=30, ha="right")
        axis.set_title(title_of(cohort, task))
        axis.set(ylim=(0, 1.3 * total.max()), xlim=(-0.6, len(x) - 0.4))
        axis.yaxis.set_major_locator(plt.MaxNLocator(4, integer=True))
    for axis in axes[:, 0]:
        axis.set_ylabel("images")
    shades = [Patch(color="0.4", label="test"), Patch(color="0.4", alpha=LIGHT, label="train")]
    figure.legend(handles=shades, loc="outside lower left", ncols=2)
    return figure


def main(snakemake):
    """Draw the class sizes of every task that has any; without one, say so."""
    style()
    params = snakemake.params
    tables = {cohort: tissues_of(f"{params.cohorts}/{cohort}") for cohort in params.tasks}
    table, reasons = size_table(tables, params.tasks)
    numbers = {
        f"{row.cohort}_{row.task}_{row['class']}_{split}": number(row[split])
        for _, row in table.iterrows()
        for split in ("train", "test")
    }
    numbers |= {f"{cohort}_{task}": not_run(why) for (cohort, task), why in reasons.items()}
    figure = draw(table) if len(table) else None
    status = "done" if len(table) else f"not run: {next(iter(reasons.values()))}"
    log.info("%d classes, %d tasks without any", len(table), len(reasons))
    save_target(
        Path(snakemake.output.numbers).parent,
        "figS19",
        figure,
        table if len(table) else None,
        numbers,
        params.target["caption"],
        params.simulated,
        status,
    )


if __name__ == "__main__":
    run(main, globals())
