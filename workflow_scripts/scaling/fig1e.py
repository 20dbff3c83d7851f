"""What a forward pass costs and what a probe reaches, by number of markers (Fig. 1e)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.ticker import NullFormatter

from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import number, weights_of
from workflow_scripts.common.scores import Confusion
from workflow_scripts.scaling.cost import MODELS, measure, parameters
from workflow_scripts.scaling.statements import statements

SHAPES = {"virtues": "o", "camae": "s"}
PAPER = (10, 20, 40)  # markers, for which parameters are counted at the paper's sizes as well
# What a reader of a picture or table must know: no two runs give the same.
MEASURED = "measured in this run on {where}; times and memory differ from run to run"
RESTRICTED = "trained on all markers; reads these alone"
COLUMNS = ["metric", "model", "markers", "value", "low", "high"]


def costs(sizes, panels, settings):
    """Return rows of seconds, memory (GB) and cost (GB s) of both models at each number."""
    rows = []
    for markers in panels:
        for model in MODELS:
            seconds, memory = measure(model, sizes[model], markers, settings)
            memory, limits = memory / 1e9, np.quantile(seconds, [0.025, 0.975])
            mean = np.mean(seconds)
            rows += [
                ("seconds", model, markers, mean, *limits),
                ("memory_gb", model, markers, memory, None, None),
                ("cost", model, markers, memory * mean, *(memory * limits)),
            ]
            log.info("%s, %d markers: %.4f s, %.3f GB", model, markers, mean, memory)
            everything, encoder = parameters(model, sizes[model], markers)
            rows.append(("parameters", model, markers, everything, None, None))
            rows.append(("encoder_parameters", model, markers, encoder, None, None))
    return pd.DataFrame(rows, columns=COLUMNS)


def read_counts(paths, cohort, labels):
    """Return (model, label) -> counts of test cells of a cohort, as linear probes left them."""
    found = {}
    for path in map(Path, paths):
        table = pd.read_parquet(path)
        for label in labels:
            rows = table[(table["cohort"] == cohort) & (table["label"] == label)]
            if len(rows):
                found[path.stem, label] = rows
    return found


def scores(counts, panels, labels, repeats, seed):
    """Return rows of macro-F1 by number of markers; `panels`: markers, virtues and camae."""
    rows = []
    for panel in panels:
        for model in MODELS:
            for label in labels:
                table = counts.get((panel[model], label))
                if table is not None:
                    confusion = Confusion(table)
                    draws = resamples(len(confusion.patients), repeats, seed)
                    limits = interval(confusion.macro_f1(draws))
                    value = confusion.macro_f1()
                    rows.append((f"macro_f1_{label}", model, panel["markers"], value, *limits))
    return pd.DataFrame(rows, columns=COLUMNS)


def entries(table, panels, weights, remark, restricted=False):
    """Return one entry for each row of the table; `remark` stands beside what was measured.

    `restricted`: CA-MAE was trained on all markers and reads only those of a smaller panel.
    """
    numbers = {}
    for row in table.itertuples():
        low, high = (None if pd.isna(limit) else limit for limit in (row.low, row.high))
        panel = next(panel for panel in panels if panel["markers"] == row.markers)
        probed = row.metric.startswith("macro_f1")
        fewer = restricted and row.model == "camae" and row.markers < panels[-1]["markers"]
        reason = remark if row.metric in ("seconds", "memory_gb", "cost") else None
        numbers[f"{row.metric}_{row.model}_{row.markers}"] = number(
            row.value,
            low,
            high,
            weights=weights.get(panel[row.model]) if probed else None,
            reason=RESTRICTED if probed and fewer else reason,
        )
    return numbers


def draw(table, labels):
    """Return the figure: cost, parameters and F1 against the number of markers."""
    kinds = {
        "cost": "memory × time (GB s)",
        "parameters": "parameters",
        **{f"macro_f1_{label}": f"macro-F1, {label.replace('_', ' ')}" for label in labels},
    }
    figure, axes = plt.subplots(1, len(kinds), figsize=figsize(183, 52))
    for axis, (kind, words) in zip(axes, kinds.items(), strict=True):
        for model in MODELS:
            own = table[(table["metric"] == kind) & (table["model"] == model)]
            shade = colour("models", model)
            axis.plot("markers", "value", f"{SHAPES[model]}-", data=own, color=shade,
                      label=name(model))  # fmt: skip
            limits = own[["low", "high"]].to_numpy(float)
            axis.vlines(own["markers"], *limits.T, color=shade, lw=0.8)
        numbers = sorted(table["markers"].unique())
        axis.set(xlabel="markers", ylabel=words, xticks=numbers)
        axis.set_xlim(0, 1.1 * numbers[-1])
        if kind.startswith("macro"):
            axis.set_ylim(0, 1)
        else:
            values = table.loc[table["metric"] == kind, "value"]
            decades = 10 ** np.floor(np.log10([values.min(), 10 * values.max()]))
            axis.set(yscale="log", ylim=decades)
            axis.yaxis.set_minor_formatter(NullFormatter())
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def main(snakemake):
    """Measure both models, read what probes reached, and draw."""
    style()
    params, target = snakemake.params, snakemake.params.target
    settings = params.run | {"device": params.device, "threads": snakemake.threads}
    settings["deterministic"] = snakemake.config["deterministic"]
    table = costs(params.sizes, [panel["markers"] for panel in params.panels], settings)
    counts = read_counts(snakemake.input.counts, params.cohort, params.labels)
    chance = (params.bootstrap, params.seed)
    reached = scores(counts, params.panels, params.labels, *chance)
    table = pd.concat([table, reached], ignore_index=True) if len(reached) else table
    where = torch.cuda.get_device_name() if settings["device"] == "cuda" else "a CPU"
    weights = {Path(path).parent.name: weights_of(path) for path in snakemake.input.metrics}
    weights |= {panel["camae"]: weights.get(panel["training"]) for panel in params.panels}
    numbers = statements(table, counts, params.panels, params.labels, *chance)
    for entry in numbers.values():
        if entry["value"] is not None and entry["seeds"]:
            entry["weights"] = weights.get(params.panels[-1]["virtues"])
    numbers |= {
        f"paper_parameters_{model}_{markers}": number(parameters(model, {}, markers)[0])
        for model in MODELS
        for markers in PAPER
    }
    measured, restricted = MEASURED.format(where=where), params.camae == "restricted"
    numbers |= entries(table, params.panels, weights, measured, restricted)
    folder = Path(snakemake.output.numbers).parent
    figure = draw(table, params.labels)
    save_target(folder, target["id"], figure, table, numbers, target["caption"], params.simulated)


if __name__ == "__main__":
    run(main, globals())
