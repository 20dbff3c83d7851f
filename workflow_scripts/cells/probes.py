"""What all figures of linear probes share: reading, scoring, numbers, and the picture."""

import json
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.figures import PALETTE, colour, figsize
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number
from workflow_scripts.common.scores import Confusion

MEAN = "macro-F1"
FOUR = ("cords2024", "danenberg2022", "hoch2022", "wang2023")  # whose cells the paper types
RIVALS = ("kronos", "camae")  # those that the paper sets beside VirTues on cells


class Probes:
    """The probes of several models: counts of test cells and facts of each fit."""

    def __init__(self, counts, facts):
        """`counts`: model -> table as rule probe_cells writes; `facts`: model -> task -> dict."""
        self.counts, self.facts = counts, facts

    def table(self, model, task):
        """Return the counts of a model on a task (cohort, label), or None."""
        if model not in self.counts:
            return None
        table = self.counts[model]
        rows = table[(table["cohort"] == task[0]) & (table["label"] == task[1])]
        return None if rows.empty else rows

    def reason(self, model, task):
        """Return why a model has no score on a task."""
        if model not in self.facts:
            return f"{name(model)} is not among the models of this study"
        status = self.facts[model].get("/".join(task), {}).get("status", "not probed")
        return status.removeprefix("not run: ")

    def remarks(self, model, task):
        """Return what a reader must know beside a score, or None."""
        facts = self.facts[model]["/".join(task)]
        remarks = [] if facts["converged"] else ["the probe did not converge"]
        remarks += [f"F1 of {k} is 0, as no train cell has this class" for k in facts["unlearned"]]
        remarks += [f"{k} is not scored, as no test cell has it" for k in facts["unscored"]]
        return "; ".join(remarks) or None


def read_probes(paths):
    """Return the Probes in the files of rule probe_cells: counts per model, its facts beside."""
    paths = [Path(path) for path in paths]
    facts = {path.stem: json.loads(path.with_suffix(".json").read_text()) for path in paths}
    return Probes({path.stem: pd.read_parquet(path) for path in paths}, facts)


def score_rows(probes, task, model, repeats, seed):
    """Return the tidy rows of one model on one task: each class, then their mean."""
    scores = Confusion(probes.table(model, task))
    draws = resamples(len(scores.patients), repeats, seed)
    per_class, means = scores.f1(draws), scores.macro_f1(draws)
    rows = [
        (kind, f1, *interval(per_class[:, i]), cells)
        for i, (kind, f1, cells) in enumerate(
            zip(scores.classes, scores.f1(), scores.support(), strict=True)
        )
    ]
    rows.append((MEAN, scores.macro_f1(), *interval(means), scores.support().sum()))
    frame = pd.DataFrame(rows, columns=["class", "f1", "low", "high", "test_cells"])
    return frame.assign(
        cohort=task[0], label=task[1], model=model, test_patients=len(scores.patients)
    )


def score_all(probes, tasks, models, repeats, seed):
    """Return the rows of every model and task that has a score, and the reasons of the others."""
    frames, missing = [], {}
    for task in tasks:
        for model in models:
            if probes.table(model, task) is None:
                missing[model, task] = probes.reason(model, task)
            else:
                frames.append(score_rows(probes, task, model, repeats, seed))
    return (pd.concat(frames, ignore_index=True) if frames else None), missing


def macro_numbers(probes, rows, missing, weights, seeds=()):
    """Return one entry per task and model: macro-F1 with its interval over test patients.

    `seeds`: of what was fitted, where chance plays a part in that.
    """
    entries = {
        f"macro_f1_{cohort}_{label}_{model}": not_run(reason)
        for (model, (cohort, label)), reason in missing.items()
    }
    means = [] if rows is None else rows[rows["class"] == MEAN].itertuples()
    for row in means:
        entries[f"macro_f1_{row.cohort}_{row.label}_{row.model}"] = number(
            row.f1,
            row.low,
            row.high,
            n=row.test_patients,
            seeds=seeds,
            weights=weights.get(row.model),
            reason=probes.remarks(row.model, (row.cohort, row.label)),
        )
    return entries


def of_the_paper(cohort):
    """Return whether the paper's statements on cell types are about this cohort."""
    return cohort.removeprefix("sim_") in FOUR


def lacking(cohorts):
    """Return the names of the paper's four cohorts that are not among `cohorts`."""
    there = {cohort.removeprefix("sim_") for cohort in cohorts}
    return [name(cohort) for cohort in FOUR if cohort not in there]


def order(means, ours, rivals):
    """Return whether `ours` leads all `rivals` in each of the four cohorts of the paper."""
    scores = {model: {} for model in (ours, *rivals)}
    for row in () if means is None else means.itertuples():
        if row.model in scores and of_the_paper(row.cohort):
            scores[row.model][row.cohort] = row.f1
    gone = {model: " and ".join(lacking(found)) for model, found in scores.items()}
    words = "; ".join(f"{name(model)} on {cohorts}" for model, cohorts in gone.items() if cohorts)
    if words:
        return not_run(f"needs scores in all four cohorts, and lacks {words}")
    own, *others = scores.values()
    leads = all(own[cohort] > rival[cohort] for rival in others for cohort in own)
    return number(float(leads), n=len(own))


def absent(models):
    """Return a line that names the paper's rivals which this study lacks, or an empty text."""
    missing = [name(model) for model in RIVALS if model not in models]
    return f"not run: {', '.join(missing)} (not among `models`)" if missing else ""


def model_colour(model):
    """Return the colour of a model: instances without a colour of their own are VirTues."""
    if model in PALETTE["models"]:
        return colour("models", model)
    kinds = {"wo_": "zero_shot", "only_": "single_cohort"}
    kind = next((kind for start, kind in kinds.items() if model.startswith(start)), "virtues")
    return colour("models", kind)


def draw_tasks(rows, note=""):
    """Return a figure: a row per task, classes by support, a shape and colour per model."""
    tasks = list(rows.groupby(["cohort", "label"], sort=False))
    figure, axes = plt.subplots(
        len(tasks), 1, figsize=figsize(183, 16 + 38 * len(tasks)), squeeze=False, sharey=True
    )
    models = list(dict.fromkeys(rows["model"]))
    for axis, ((cohort, label), part) in zip(axes[:, 0], tasks, strict=True):
        draw_classes(axis, part, models)
        axis.set_title(f"{name(cohort)}: {label.replace('_', ' ')}", loc="left")
    legends = [axis.get_legend_handles_labels() for axis in axes[:, 0]]
    entries = {
        text: handle
        for handles, texts in legends
        for handle, text in zip(handles, texts, strict=True)
    }
    figure.legend(entries.values(), entries, loc="outside upper center", ncols=5)
    if note:
        figure.supxlabel(note, fontsize=5, color="0.4", x=0.01, ha="left")
    return figure


def draw_classes(axis, rows, models):
    """Draw one task: the mean first, then the classes; a dotted line is a class's share."""
    support = rows.drop_duplicates("class").set_index("class")["test_cells"]
    classes = support.drop(MEAN).sort_values(ascending=False)
    order = [MEAN, *classes.index]
    shapes = dict(zip(models, cycle("oXs^Dv"), strict=False))
    offsets = np.linspace(-0.24, 0.24, len(models)) if len(models) > 1 else [0.0]
    for model, offset in zip(models, offsets, strict=True):
        ours = rows[rows["model"] == model].set_index("class")
        if ours.empty:
            continue
        ours, x = ours.loc[order], np.arange(len(order)) + offset
        shade = model_colour(model)
        axis.vlines(x, ours["low"].astype(float), ours["high"].astype(float), color=shade, lw=0.6)
        axis.plot(x, ours["f1"], shapes[model], color=shade, label=name(model), clip_on=False)
    share = [np.nan, *(classes / classes.sum())]
    for x, value in enumerate(share):
        ends = [x - 0.35, x + 0.35], [value, value]
        axis.plot(*ends, ":", color="0.5", lw=0.6, label="share of the test cells")
    gap = " " if len(order) > 9 else "\n"
    ticks = [MEAN, *(f"{kind}{gap}n = {n:,}" for kind, n in classes.items())]
    crowded = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(order) > 9 else {}
    axis.set_xticks(range(len(order)), ticks, **crowded)
    axis.set_ylim(0, 1)
    axis.set_ylabel("F1")
