"""Further channels of all cohorts under each masking strategy (Suppl. Fig. 2-10)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.common.figures import inches, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.reconstruction.draw_examples import SHOWN
from workflow_scripts.reconstruction.evaluation import STRATEGIES
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

PARTS = 3  # pictures of a strategy
FURTHER, ACROSS = 8, 4  # channels of a cohort, and those in one row
GAP = 0.25  # between triples, in tiles


def further(examples):
    """Return up to eight channels of each cohort; those of Figure 2 are not shown again."""
    rest = {}
    for place, (cohort, example) in enumerate(examples.items()):
        first = SHOWN if place == 0 else 0
        part = only(example, slice(first, first + FURTHER))
        if len(part["markers"]):
            rest[cohort] = part
    return rest


def draw(examples, scale):
    """Return the figure: for each cohort two rows of four triples: measured, input, guess."""
    heights = {cohort: -(-len(e["markers"]) // ACROSS) for cohort, e in examples.items()}
    rows, widths = sum(heights.values()), ([1, 1, 1, GAP] * ACROSS)[:-1]
    figure, axes = plt.subplots(
        rows,
        len(widths),
        figsize=(inches(183), inches(14 + 17 * rows)),
        squeeze=False,
        width_ratios=widths,
    )
    top = 0
    for cohort, example in examples.items():
        pictures = views(example, scale)
        for channel, marker in enumerate(example["markers"]):
            row, column = top + channel // ACROSS, channel % ACROSS * 4
            for offset, view in enumerate(VIEWS):
                tile(axes[row, column + offset], pictures[view][channel])
            axes[row, column + 1].set_title(marker, fontsize=5, pad=2)
        axes[top, 0].set_ylabel(name(cohort).replace(" (simulated)", ""), fontsize=5)
        small_scale_bar(axes[top, 0])
        top += heights[cohort]
    for axis in axes.flat:
        if not axis.images:
            axis.set_axis_off()
    figure.suptitle("each channel: measured, input, reconstruction", fontsize=6)
    intensity_bar(axes, scale)
    return figure


def summarise(table, common):
    """Return the mean r of the channels shown of each cohort."""
    numbers = {}
    for cohort, r in table.groupby("cohort", sort=False)["pearson_r"]:
        reason = f"mean over {r.notna().sum()} channels of one region"
        numbers[f"r_{cohort}"] = (
            number(r.mean(), reason=reason, **common)
            if r.notna().any()
            else not_run("the channels are constant in this region")
        )
    return numbers


def main(snakemake):
    """Draw three pictures per strategy; a part without a cohort records why it is empty."""
    style()
    params, weights = snakemake.params, weights_of(snakemake.input.metrics)
    targets = iter(zip(params.targets, snakemake.output.numbers, strict=True))
    for strategy in STRATEGIES:
        examples = further(read_examples(snakemake.input[strategy]))
        # In the order of the study, whichever cohort Figure 2 shows.
        cohorts = [cohort for cohort in params.cohorts if cohort in examples]
        for part in np.array_split(np.array(cohorts, object), PARTS):
            target, path = next(targets)
            figure, table, numbers = None, None, {}
            status = "not run: there are fewer cohorts than parts"
            if len(part):
                chosen = {cohort: examples[cohort] for cohort in part}
                figure = draw(chosen, params.scale)
                table = pd.concat([scores(e, strategy) for e in chosen.values()])
                seeds = [] if strategy == "marker" else params.seeds[:1]
                numbers = summarise(table, {"n": 1, "seeds": seeds, "weights": weights})
                status = "done"
            arguments = figure, table, numbers, target["caption"], params.simulated, status
            save_target(Path(path).parent, target["id"], *arguments)
            plt.close("all")
            log.info("%s: %s", target["id"], ", ".join(part) or status)


if __name__ == "__main__":
    run(main, globals())
