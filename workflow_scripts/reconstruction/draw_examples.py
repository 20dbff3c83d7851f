"""Draw an example of every masking strategy: truth, masked input and reconstruction (Fig. 2a-c)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from workflow_scripts.common.figures import figsize, save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.reconstruction.examples import read_examples
from workflow_scripts.reconstruction.pictures import (
    VIEWS,
    intensity_bar,
    only,
    scores,
    small_scale_bar,
    tile,
    views,
)

SHOWN = 4


def draw(example, scale):
    """Return the figure: a row per view, a column per marker, one scale for all three views."""
    pictures, columns = views(example, scale), len(example["markers"])
    figure, axes = plt.subplots(3, columns, figsize=figsize(89, 79), squeeze=False)
    for column, marker in enumerate(example["markers"]):
        for axis, view in zip(axes[:, column], VIEWS, strict=True):
            tile(axis, pictures[view][column])
            axis.set_ylabel(view if column == 0 else "")
        axes[0, column].set_title(marker, fontsize=6)
    small_scale_bar(axes[0, -1])
    intensity_bar(axes, scale)
    return figure


def summarise(table, common):
    """Return r of every marker shown."""
    return {
        f"r_{row.marker}": not_run("r is undefined, the marker is constant in this region")
        if np.isnan(row.pearson_r)
        else number(row.pearson_r, **common)
        for row in table.itertuples()
    }


def main(snakemake):
    """Draw every strategy's picture, or record that no test crop could be scored."""
    style()
    params, files = snakemake.params, snakemake.input
    rows = zip(
        params.targets, params.strategies, files.examples, snakemake.output.numbers, strict=True
    )
    for target, strategy, example, path in rows:
        figure, table, numbers = None, None, {}
        status = "not run: no test crop could be scored"
        examples = read_examples(example)
        if examples:
            example = only(next(iter(examples.values())), slice(SHOWN))
            figure, table = draw(example, params.scale), scores(example, strategy)
            # One region; marker masking draws nothing, so that no seed belongs to it.
            seeds = [] if strategy == "marker" else params.seeds[:1]
            common = {"n": 1, "seeds": seeds, "weights": weights_of(files.metrics)}
            numbers, status = summarise(table, common), "done"
        folder, caption = Path(path).parent, target["caption"]
        save_target(folder, target["id"], figure, table, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
