"""Clinical classes of whole tissues, every model beside VirTues (Fig. 4f)."""

import json
from itertools import chain
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.common.bootstrap import interval
from workflow_scripts.common.figures import PALETTE, colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import weights_of
from workflow_scripts.common.tasks import tissues_of
from workflow_scripts.patients.problems import title_of
from workflow_scripts.patients.tissue_claims import count_images, statements
from workflow_scripts.patients.tissue_results import adjust, summarise, task_result
from workflow_scripts.patients.tissue_scores import Score
from workflow_scripts.patients.tumour_fraction import score_fraction

COLUMNS = 5  # panels of a row


def read_results(paths, tasks, virtues, repeats, seed):
    """Return the TaskResults of all tasks that any model was tested on, in the order of `tasks`."""
    predictions = pd.concat([pd.read_parquet(path) for path in paths])
    tables = dict(tuple(predictions.groupby("model", sort=False)))
    results = []
    for cohort, names in tasks.items():
        for task in names:
            rows = {
                model: table[(table["cohort"] == cohort) & (table["task"] == task)]
                for model, table in tables.items()
            }
            rows = {model: own for model, own in rows.items() if len(own)}
            if rows:
                results.append(task_result(cohort, task, rows, virtues, repeats, seed))
    adjust(results)
    return results


def source_data(results):
    """Return the tidy table: a row per task, model and seed, with the means and comparisons."""
    rows = []
    for result in results:
        for model, score in result.images.items():
            low, high = interval(score.draws)
            common = {
                "cohort": result.cohort,
                "task": result.task,
                "model": model,
                "test_images": result.test_images,
                "test_patients": len(score.patients),
                "mean": score.mean,
                "low": low,
                "high": high,
                "mean_by_patient": result.patients[model].mean,
            } | result.comparisons.get(model, {})
            for seed, f1 in zip(score.seeds, score.f1, strict=True):
                rows.append(common | {"seed": seed, "macro_f1": f1})
    return pd.DataFrame(rows)


def draw(results, models):
    """Return the figure: a panel per task with a mean, its interval and the seeds of each model."""
    rows = -(-len(results) // COLUMNS)
    figure, axes = plt.subplots(
        rows,
        min(COLUMNS, len(results)),
        figsize=figsize(183, 8 + 50 * rows),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for axis in axes.ravel()[len(results) :]:
        axis.set_visible(False)
    for axis, result in zip(axes.ravel(), results, strict=False):
        _panel(axis, result, [model for model in models if model in result.images])
    for axis in axes[:, 0]:
        axis.set_ylabel("macro-F1")
    handles = [plt.Line2D([], [], ls="--", lw=0.8, color="0.4", label="tumour fraction alone")]
    figure.legend(handles=handles, loc="outside lower left")
    return figure


def _panel(axis, result, models):
    axis.annotate("p", (-0.55, 1.02), va="bottom", fontsize=5, style="italic")
    for x, model in enumerate(models):
        score = result.images[model]
        shade = colour("models", model if model in PALETTE["models"] else "virtues")
        low, high = interval(score.draws)
        if low is not None:
            axis.vlines(x, low, high, color=shade, lw=0.8)
        places = x + np.linspace(-0.22, 0.22, len(score.f1) + 2)[1:-1]
        axis.plot(places, score.f1, "o", ms=2, mfc="white", mec=shade, mew=0.5)
        axis.plot([x - 0.3, x + 0.3], [score.mean] * 2, color=shade, lw=1.6)
        if model in result.comparisons:
            p = result.comparisons[model]["mann_whitney_p"]
            axis.annotate(f"{p:.2g}", (x, 1.02), ha="center", va="bottom", fontsize=5)
    if isinstance(result.fraction, Score):
        axis.axhline(result.fraction.mean, ls="--", lw=0.8, color="0.4", zorder=0)
    axis.set_title(
        f"{title_of(result.cohort, result.task)}, n = {result.test_images:,}", fontsize=6
    )
    axis.set_xticks(range(len(models)), map(name, models), rotation=45, ha="right")
    axis.set(xlim=(-0.6, len(models) - 0.4), ylim=(-0.03, 1.1))


def reasons_of(paths):
    """Return (cohort, task) -> why it was not run, for those that no model was tested on."""
    reasons = {}
    for path in paths:
        facts = json.loads(Path(path).read_text(encoding="utf-8"))
        for cohort, tasks in chain.from_iterable(own.items() for own in facts.values()):
            for task, found in tasks.items():
                if found["status"] != "done":
                    reasons[cohort, task] = found["status"].removeprefix("not run: ")
    return reasons


def main(snakemake):
    """Score all models on all tasks; a task without data is said to be not run."""
    style()
    params, files = snakemake.params, snakemake.input
    tables = {cohort: tissues_of(f"{params.cohorts}/{cohort}") for cohort in params.tasks}
    weights = {Path(path).parent.name: weights_of(path) for path in files.metrics}
    reasons = reasons_of(files.facts)

    def why_not(cohort, task=None):
        here = next((x for x in params.tasks if x.removeprefix("sim_") == cohort), None)
        if here is None:
            return params.absent[cohort]
        known = [reasons[key] for key in reasons if key in ((here, task), (here, task or key[1]))]
        return known[0] if known else f"{task} is not among the tasks of {here}"

    results = read_results(
        files.predictions, params.tasks, params.model, params.bootstrap, params.seed
    )
    for result in results:
        result.fraction = score_fraction(
            result,
            tables[result.cohort],
            params.tasks[result.cohort][result.task],
            params.tumour.get(result.cohort),
            f"{params.cohorts}/{result.cohort}",
            params.bootstrap,
            params.seed,
        )
    numbers = summarise(results, params.model, weights)
    numbers |= statements(results, params.model, weights, why_not)
    numbers |= count_images(tables, params.tasks, why_not)
    figure = draw(results, params.models) if results else None
    status = "done" if results else f"not run: {next(iter(reasons.values()), 'no task')}"
    log.info("%d tasks of %d cohorts", len(results), len(tables))
    folder = Path(snakemake.output.numbers).parent
    table = source_data(results) if results else None
    caption = params.target["caption"]
    save_target(folder, "fig4f", figure, table, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
