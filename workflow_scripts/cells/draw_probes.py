"""F1 of linear probes for every model, per class and on average (Fig. 3b, Suppl. Fig. 16, 17)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from pyarrow.parquet import read_schema

from workflow_scripts.cells.probes import (
    MEAN,
    absent,
    draw_tasks,
    lacking,
    macro_numbers,
    of_the_paper,
    order,
    read_probes,
    score_all,
)
from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.figures import save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.labels import sources
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.common.scores import Confusion, difference, holm, paired

# Class shares that the paper states: claim -> cohort, label, words in the name of the class.
SHARES = {
    "C111": ("cords2024", "cell_category", ("vessel",)),
    "C112": ("cords2024", "cell_category", ("t cell",)),
    "C113": ("danenberg2022", "cell_type", ("nk",)),
    "C114": ("danenberg2022", "cell_type", ("b cell",)),
}
GAINS = {"C030": "kronos", "C031": "camae"}
VERIFIED = "the list of verified images is with the authors"


def class_share(labels, words):
    """Return the percentage of labelled cells whose class is called by one of `words`."""
    named = labels.str.lower().str.rstrip("s").isin(words)
    return 100 * named.mean()


def share_numbers(cells):
    """Return the entries of the class shares; `cells`: (cohort, label) -> labels of all cells."""
    numbers = {}
    for claim, (cohort, label, words) in SHARES.items():
        # A simulated cohort stands for the one whose layout it has.
        labels = cells.get((cohort, label), cells.get((f"sim_{cohort}", label)))
        share = 0.0 if labels is None else class_share(labels, words)
        if share:
            numbers[claim] = number(share, n=len(labels), reason="of all labelled cells")
        else:
            numbers[claim] = not_run(f"no such class among the {label} labels of {cohort}")
    return numbers


def verified_number(path):
    """Return the entry of the images behind re-annotated labels; `path` of their facts, or None."""
    if path is None:
        return not_run(VERIFIED)
    return number(json.loads(Path(path).read_text())["verified_images"])


def gain(probes, tasks, ours, rival, repeats, seed):
    """Return the mean over tasks of the relative gain in macro-F1 (percent), its entry (D5).

    Patients are resampled within each cohort; the ratio of mean scores stands beside.
    """
    scored = [task for task in tasks if probes.table(rival, task) is not None]
    scored = [task for task in scored if probes.table(ours, task) is not None]
    if not scored:
        return not_run(probes.reason(rival, tasks[0]) if tasks else "no task")
    pairs = [[Confusion(probes.table(model, task)) for model in (ours, rival)] for task in scored]
    point = np.array([[scores.macro_f1() for scores in pair] for pair in pairs])
    draws = []
    for task, pair in enumerate(pairs):
        weights = resamples(len(pair[0].patients), repeats, seed + task)
        if len(weights) and pair[0].patients == pair[1].patients:
            draws.append(pair[0].macro_f1(weights) / pair[1].macro_f1(weights) - 1)
    whole = len(draws) == len(pairs)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 100 * (point[:, 0] / point[:, 1] - 1).mean()
        ratio = 100 * (point[:, 0].mean() / point[:, 1].mean() - 1)
    limits = interval(100 * np.mean(draws, axis=0)) if whole else (None, None)
    if not np.isfinite(value):
        return not_run(f"macro-F1 of {name(rival)} is 0")
    return number(
        value,
        *limits,
        n=sum(len(pair[0].patients) for pair in pairs),
        careful=(ratio, "ratio of mean scores (D5)"),
        reason=f"over {len(scored)} of {len(tasks)} tasks",
    )


def comparisons(probes, tasks, ours, models, repeats, seed):
    """Return entries of macro-F1 of `ours` less each model's, with a p value, on the same cells.

    p values are Holm's over all comparisons of the figure.
    """
    found = {}
    for cohort, label in tasks:
        for model in models:
            tables = [probes.table(m, (cohort, label)) for m in (ours, model)]
            if model == ours or any(table is None for table in tables):
                continue
            both = paired(*tables)
            key = f"lead_{cohort}_{label}_over_{model}"
            if both is None:
                found[key] = not_run("the models were not scored on the same cells")
            else:
                found[key] = (difference(*both, repeats, seed), len(both[0].patients))
    tested = {k: v[0][3] for k, v in found.items() if isinstance(v, tuple) and v[0][3] is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    for key, value in found.items():
        if isinstance(value, tuple):
            (gap, low, high, _), patients = value
            p = adjusted.get(key)
            reason = (
                "too few patients for a test" if p is None else f"paired test, Holm p = {p:.3g}"
            )
            found[key] = number(gap, low, high, n=patients, reason=reason)
    return found


def statements(probes, params, rows):
    """Return the paper's statements on four cohorts: gains over its rivals, and the order (T6)."""
    ours, tasks, numbers = params.models[0], [tuple(task) for task in params.tasks], {}
    common = (params.bootstrap, params.seed)
    four = [task for task in tasks if of_the_paper(task[0])]
    others = " and ".join(lacking(cohort for cohort, _ in four))
    for claim, rival in GAINS.items():
        numbers[claim] = gain(probes, four, ours, rival, *common)
        if others and numbers[claim]["reason"]:
            numbers[claim]["reason"] += f"; {others} not in this study"
    published = {tuple(task): tuple(twin) for task, twin in params.published}
    beside = {
        "": tasks,
        "_all_tasks": [tuple(task) for task in params.all_tasks],  # D5
        "_published_labels": [published.get(task, task) for task in tasks] if published else [],
    }
    for model in params.models[1:]:
        for kind, chosen in beside.items():
            if chosen:
                numbers[f"gain_over_{model}{kind}"] = gain(probes, chosen, ours, model, *common)
    # CA-MAE is trained on one cohort: so is the instance beside it.
    for cohort, instance in params.alone.items():
        of_cohort = [task for task in tasks if task[0] == cohort]
        numbers[f"gain_of_{instance}_over_camae"] = gain(
            probes, of_cohort, instance, "camae", *common
        )
    means = None if rows is None else rows[rows["class"] == MEAN]
    numbers["C110"] = order(means, ours, list(GAINS.values()))
    return numbers


def main(snakemake):
    """Score every task and model that has test cells; say so when none has."""
    style()
    files, params = snakemake.input, snakemake.params
    target, tasks = params.target, [tuple(task) for task in params.tasks]
    probes = read_probes(files.counts)
    weights = {Path(path).parent.name: weights_of(path) for path in files.metrics}
    rows, missing = score_all(probes, tasks, params.models, params.bootstrap, params.seed)
    numbers = macro_numbers(probes, rows, missing, weights)
    numbers |= comparisons(
        probes, tasks, params.models[0], params.models, params.bootstrap, params.seed
    )
    tables = dict(zip(tasks, files.cells, strict=True))
    if target["claims"]:
        cells = {
            task: pd.read_parquet(path, columns=[task[1]])[task[1]].dropna()
            for task, path in tables.items()
        }
        numbers |= share_numbers(cells) | statements(probes, params, rows)
        numbers["C068"] = verified_number(next(iter(files.get("verified", [])), None))
        # Labels that were given anew come from the same pixels: scores on the archive's own (T12).
        twins = [tuple(twin) for _, twin in params.published]
        own = score_all(probes, twins, params.models, params.bootstrap, params.seed)
        numbers |= macro_numbers(probes, *own, weights)
    figure, status = None, "not run: no cohort of this study has labelled test cells"
    if rows is not None:
        figure, status = draw_tasks(rows, absent(params.models)), "done"
    folder = Path(snakemake.output.numbers).parent
    columns = {task: read_schema(path).names for task, path in tables.items()}
    caption = f"{target['caption']} {sources(columns)}".strip()
    save_target(folder, target["id"], figure, rows, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
