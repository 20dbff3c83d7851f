"""Queries and their three closest tissues as coloured cells (Fig. 4k, Suppl. Fig. 21)."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from workflow_scripts.common.cell_pictures import cell_picture, colours_of
from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.figures import figsize, save_target, scale_bar, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.numbers import number, weights_of
from workflow_scripts.common.tasks import task_classes, tissues_of
from workflow_scripts.retrieval.matches import HEADLINE, TOP


def choose(table, classes, wanted):
    """Return the query of a case: of its class and grade, at its place among all such queries.

    `table`: match table of one exclusion; `classes`: columns subtype and grade by tissue; `wanted`:
    {subtype, grade, quantile}. Queries are ordered by their mean distance to their matches, so
    that 0.5 is the typical one and no eye chooses (D30). None where there is no such query.
    """
    fits = classes.index[
        (classes["subtype"] == wanted["subtype"]) & (classes["grade"] == wanted["grade"])
    ]
    means = table[table["query"].isin(fits)].groupby("query")["distance"].mean().sort_values()
    if means.empty:
        return None
    return means.index[round(wanted["quantile"] * (len(means) - 1))]


def record(tissues, tissue, columns):
    """Return the clinical record of a tissue as short lines of text."""
    row = tissues.loc[tissue]
    values = [f"{words}: {_short(row[column])}" for words, column in columns.items()]
    return "\n".join([tissue, *values])


def _short(value):
    if pd.isna(value):
        return "not recorded"
    return f"{value:g}" if isinstance(value, float) else str(value)


def draw(cases, cohort, cells, label, tissues, columns):
    """Return the figure: a row per case, the query and its matches with bars of composition."""
    colours = colours_of(cells[label].dropna())
    files = {tissue.id: tissue for tissue in cohort.tissues()}
    figure, axes = plt.subplots(
        2 * len(cases),
        TOP + 1,
        figsize=figsize(183, 62 * len(cases) + 8),
        squeeze=False,
        layout="constrained",
        height_ratios=[8, 1] * len(cases),
    )
    for row, case in enumerate(cases):
        for column in range(TOP + 1):
            picture, bar = axes[2 * row, column], axes[2 * row + 1, column]
            picture.set_axis_off()
            bar.set_axis_off()
            if column >= len(case):
                continue
            own = cells[cells["tissue_id"] == case[column]].set_index("cell_id")[label]
            mask = files[case[column]].cell_mask()
            if mask is not None:
                picture.imshow(cell_picture(mask, own, colours), interpolation="nearest")
                if column == 0:  # all are of one scale
                    scale_bar(picture, colour="black")
            words = "query" if column == 0 else f"match {column}"
            text = record(tissues, case[column], columns)
            picture.set_title(f"{words}: {text}", loc="left", fontsize=5)
            left = 0.0
            shares = own.value_counts(normalize=True)
            for kind in [kind for kind in colours if kind in shares]:
                bar.barh(0, shares[kind], left=left, color=colours[kind], height=1)
                left += shares[kind]
            bar.set(xlim=(0, 1), ylim=(-0.5, 0.5))
    patches = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    figure.legend(patches, colours, loc="outside lower center", ncols=6)
    return figure


def main(snakemake):
    """Choose the cases, draw them and list their distances."""
    style()
    params, files = snakemake.params, snakemake.input
    table = pd.read_parquet(files.matches)
    table = table[table["exclude"] == HEADLINE]
    tissues = tissues_of(params.cohort_folder)
    classes = pd.DataFrame(
        {
            task: task_classes(tissues, params.tasks[task], f"{params.cohort}: tasks.{task}")
            for task in ("subtype", "grade")
        }
    )
    cells = pd.read_parquet(files.cells, columns=["tissue_id", "cell_id", params.label])
    queries = [choose(table, classes, wanted) for wanted in params.cases]
    for wanted, query in zip(params.cases, queries, strict=True):
        if query is None:
            log.warning("no query is a %s of grade %s", wanted["subtype"], wanted["grade"])
    rows = pd.concat([table[table["query"] == query] for query in filter(None, queries)] or [table])
    figure, source, numbers = None, None, {}
    status = "not run: no tissue has the subtype and grade of a case"
    if any(queries):
        cases = [[q, *rows[rows["query"] == q]["match"].unique()] for q in filter(None, queries)]
        columns = {task.replace("_", " "): params.tasks[task]["column"] for task in params.tasks}
        cohort = CohortFiles(params.cohort_folder)
        figure = draw(cases, cohort, cells, params.label, tissues, columns)
        source, status = rows.drop_duplicates(), "done"
        weights = weights_of(files.metrics)
        for i, case in enumerate(cases, 1):
            distances = rows[rows["query"] == case[0]].drop_duplicates()["distance"]
            numbers[f"case_{i}_mean_distance"] = number(distances.mean(), n=1, weights=weights)
    folder, target = Path(snakemake.output.numbers).parent, params.target
    save_target(
        folder, target["id"], figure, source, numbers, target["caption"], params.simulated, status
    )


if __name__ == "__main__":
    run(main, globals())
