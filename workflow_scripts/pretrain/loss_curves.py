"""Draw the training loss of every instance against its steps, for the report."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.common.figures import figsize, save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.numbers import not_run, number

POINTS = 400  # of a curve; a step of one batch is noise that nobody can see on a page


def curve(losses, epochs, points=POINTS):
    """Return a table of up to `points` bins of equal width: last step, epoch and mean loss."""
    edges = np.linspace(0, len(losses), min(points, len(losses)) + 1).round().astype(int)
    means = [np.mean(losses[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return pd.DataFrame(
        {"step": edges[1:], "epoch": epochs * edges[1:] / max(1, len(losses)), "loss": means}
    )


def tidy(trainings):
    """Return the source data: a row per instance and bin of steps, from dicts of metrics.json."""
    tables = [
        curve(training["losses"], training.get("epochs", 0)).assign(instance=training["instance"])
        for training in trainings
    ]
    return pd.concat(tables, ignore_index=True)[["instance", "step", "epoch", "loss"]]


def draw(table):
    """Return the picture: a line per instance."""
    figure, axis = plt.subplots(figsize=figsize(89, 60))
    for instance, rows in table.groupby("instance", sort=False):
        # The range of the colour cycle is seven; more lines differ in their dashes.
        place = len(axis.lines)
        axis.plot(rows["step"], rows["loss"], ["-", "--", ":"][place // 7 % 3], label=instance)
    axis.set(xlabel="Optimiser step", ylabel="Mean squared error", ylim=(0, None))
    axis.legend(loc="upper right", ncols=2 if len(axis.lines) > 5 else 1)
    return figure


def summarise(trainings):
    """Return the mean loss over the last ten steps of each instance, as numbers.json wants it."""
    return {
        f"last_loss_{t['instance']}": number(
            t["last_loss"],
            seeds=[t["seed"]],
            weights=f"{t['instance']}, sha256 {t['weights_sha256']}",
            reason="mean over the last ten steps",
        )
        if t["losses"]
        else not_run(
            "its weights were given" if "given" in t else "no sub-image passed the filters"
        )
        for t in trainings
    }


def main(snakemake):
    """Draw and save."""
    style()
    paths = map(Path, snakemake.input.metrics)
    trainings = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    table = tidy(trainings)
    save_target(
        Path(snakemake.output.numbers).parent,
        "loss_curves",
        None if table.empty else draw(table),
        table,
        summarise(trainings),
        "Training loss of every instance: squared error, mean over all pixels of a batch, hidden "
        "and visible alike, in standardised units.",
        snakemake.params.simulated,
    )


if __name__ == "__main__":
    run(main, globals())
