"""The colours that stand for cohorts in all pictures (Suppl. Fig. 1)."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name


def draw(table):
    """Return a legend: a square of its colour beside the name of each cohort."""
    figure, axis = plt.subplots(figsize=figsize(60, 4 + 5 * len(table)))
    for place, row in enumerate(table.itertuples()):
        axis.add_patch(plt.Rectangle((0, place - 0.35), 0.7, 0.7, color=row.colour))
        axis.text(1, place, name(row.cohort), va="center")
    axis.set(xlim=(0, 8), ylim=(len(table) - 0.5, -0.5))
    axis.set_axis_off()
    return figure


def main(snakemake):
    """Draw the legend of the cohorts of this study."""
    style()
    params = snakemake.params
    rows = [(cohort, colour("cohorts", cohort)) for cohort in params.cohorts]
    table = pd.DataFrame(rows, columns=["cohort", "colour"])
    folder = Path(snakemake.output.numbers).parent
    save_target(folder, "figS1", draw(table), table, {}, params.target["caption"], params.simulated)


if __name__ == "__main__":
    run(main, globals())
