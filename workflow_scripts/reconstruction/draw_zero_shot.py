"""Markers reconstructed zero-shot and in-domain: Fig. 2g, Suppl. Fig. 13 and 14."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.common.figures import inches, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.reconstruction.evaluation import STRATEGIES
from workflow_scripts.reconstruction.examples import read_examples
from workflow_scripts.reconstruction.pictures import (
    intensity_bar,
    only,
    scores,
    small_scale_bar,
    tile,
    views,
)

MODELS = {"zero_shot": "zero-shot", "in_domain": "in-domain"}
GAP = 0.2  # between strategies, in tiles


def choose(new):
    """Return which channels each target shows: the first of both groups, more seen, more new.

    `new` [n]: whether pretraining lacked the channel; the wanted ones stand first in each group.
    """
    seen, unseen = np.flatnonzero(~new), np.flatnonzero(new)
    return [np.concatenate([seen[:1], unseen[:1]]), seen[1:], unseen[1:]]


def columns():
    """Return (strategy, model or None for the input) per column; None is a gap.

    Under marker masking the input is one grey square, so that it has no column.
    """
    listed = []
    for strategy in STRATEGIES:
        inputs = [] if strategy == "marker" else [(strategy, None)]
        listed += [None, *inputs, *((strategy, model) for model in MODELS)]
    return listed


def draw(examples, scale):
    """Return the figure: a row per marker; measured, then input and both models per strategy."""
    first = examples["independent/zero_shot"]
    rows, listed = len(first["markers"]), columns()
    figure, axes = plt.subplots(
        rows,
        1 + len(listed),
        figsize=(inches(183), inches(19 + 20.5 * rows)),
        squeeze=False,
        width_ratios=[1, *(GAP if column is None else 1 for column in listed)],
    )
    pictures = {key: views(example, scale) for key, example in examples.items()}
    r_of = {key: scores(example, "")["pearson_r"] for key, example in examples.items()}
    for row, marker in enumerate(first["markers"]):
        tile(axes[row, 0], pictures["independent/zero_shot"]["measured"][row])
        axes[row, 0].set_ylabel(f"{marker}\n({'new' if first['new'][row] else 'seen'})")
        for axis, column in zip(axes[row, 1:], listed, strict=True):
            if column is None:
                axis.set_axis_off()
                continue
            strategy, model = column
            key = f"{strategy}/{model or 'zero_shot'}"
            tile(axis, pictures[key]["reconstruction" if model else "input"][row])
            if model and not np.isnan(r_of[key][row]):
                axis.set_xlabel(f"r = {round(r_of[key][row], 2) + 0:.2f}", fontsize=5, labelpad=1)
            if row == 0:
                axis.set_title(f"{strategy}\n{MODELS.get(model, 'input')}", fontsize=6)
    axes[0, 0].set_title("measured", fontsize=6)
    small_scale_bar(axes[0, 0])
    intensity_bar(axes, scale)
    return figure


def summarise(table, common):
    """Return r of every marker shown, under each strategy, by both models."""
    return {
        f"r_{row.marker}_{row.strategy}_{row.model}": not_run("the marker is constant here")
        if np.isnan(row.pearson_r)
        else number(row.pearson_r, **common)
        for row in table.itertuples()
    }


def main(snakemake):
    """Draw the three targets; one without a marker of its group records so."""
    style()
    params = snakemake.params
    examples = read_examples(snakemake.input.examples)
    reason = params.absent or (None if examples else "no test crop could be scored")
    new = next(iter(examples.values()))["new"] if examples else np.zeros(0, bool)
    for places, target, path in zip(
        choose(new), params.targets, snakemake.output.numbers, strict=True
    ):
        figure, table, numbers = None, None, {}
        status = f"not run: {reason or 'the panel has no further marker of this group'}"
        if not reason and len(places):
            chosen = {key: only(example, places) for key, example in examples.items()}
            figure = draw(chosen, params.scale)
            parts = []
            for key, example in chosen.items():
                strategy, model = key.split("/")
                parts.append(scores(example, strategy).assign(model=model, new=example["new"]))
            table = pd.concat(parts)
            weights = "; ".join(weights_of(path) for path in snakemake.input.metrics)
            numbers = summarise(table, {"n": 1, "seeds": params.seeds[:1], "weights": weights})
            status = "done"
        arguments = figure, table, numbers, target["caption"], params.simulated, status
        save_target(Path(path).parent, target["id"], *arguments)
        log.info("%s: %d markers", target["id"], len(places))


if __name__ == "__main__":
    run(main, globals())
