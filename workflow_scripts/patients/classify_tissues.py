"""Clinical classes of whole tissues from the tokens of one model: every task, every seed.

Mean intensities have raw counts beside them (D9): then there are two models, one after the other.
"""

import json
from itertools import product

import numpy as np
import pandas as pd

from workflow_scripts.common.device import check_device
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.staging import staged
from workflow_scripts.common.tasks import tissues_of
from workflow_scripts.patients.abmil_training import Problem, Run, predict, train
from workflow_scripts.patients.bags import Bags
from workflow_scripts.patients.problems import problem_of

COLUMNS = [
    "model",
    "cohort",
    "task",
    "seed",
    "tissue_id",
    "patient_id",
    "truth",
    "class",
    "probability",
]


def problems_of(cohort, tissues, tasks, tokens):
    """Return the Problems of a cohort's tasks, and task -> why there is none."""
    problems, reasons = [], {}
    for task, definition in tasks.items():
        try:
            where = f"{cohort}: tasks.{task}"
            parts = problem_of(tissues, definition, where, tokens)
            problems.append(Problem(task, **parts))
        except InputError as error:
            reasons[task] = str(error)
            log.warning("Not run: %s", error)
    return problems, reasons


def prediction_rows(problem, seed, tissue, probabilities):
    """Return one row per class that the model knows."""
    patient, truth = problem.patients[tissue], problem.labels[tissue]
    return [
        (problem.name, seed, tissue, patient, truth, name, float(probability))
        for name, probability in zip(problem.classes, probabilities, strict=True)
    ]


def attention_map(attention, niches):
    """Return attention [n, heads] as its mean over heads, [niches, patches of a niche]."""
    return attention.mean(axis=1).reshape(niches, -1).astype(np.float32)


def facts_of(run_, level):
    """Return what is worth knowing of a finished run."""
    return {
        "seed": run_.seed,
        "level": level,
        "fitted": len(run_.fit),
        "validated": len(run_.validation),
        "epochs": run_.epoch,
        "best_epoch": run_.best_epoch,
        "validation_loss": run_.best_loss,
    }


def classify(cohort, tissues, tasks, bags, settings, seeds, device):
    """Train and test all tasks of a cohort.

    Returns prediction rows, attention by "<cohort>/<task>/<tissue>" for the first seed, and facts
    by task.
    """
    problems, reasons = problems_of(cohort, tissues, tasks, bags.places)
    facts = {task: {"status": f"not run: {reason}", "runs": []} for task, reason in reasons.items()}
    if not problems:
        return [], {}, facts
    runs = [Run(p, seed, bags.width, settings, device) for p in problems for seed in seeds]
    train(runs, bags, list(bags.places))
    rows, maps = [], {}
    for run_, tissue, probabilities, attention in predict(runs, bags):
        problem = run_.problem
        rows += prediction_rows(problem, run_.seed, tissue, probabilities)
        if run_.seed == seeds[0]:
            key = f"{cohort}/{problem.name}/{tissue}"
            maps[key] = attention_map(attention, bags.niches(tissue))
    for problem in problems:
        own = [run_ for run_ in runs if run_.problem is problem]
        facts[problem.name] = {
            "status": "done",
            "runs": [facts_of(run_, bags.level) for run_ in own],
        }
    return [(cohort, *row) for row in rows], maps, facts


def main(snakemake):
    """Train and test every task of every cohort that the model has tokens of."""
    params, files = snakemake.params, snakemake.output
    check_device(params.device)
    rows, maps, facts = [], {}, {}
    memory = params.settings["memory_mb"] * 10**6
    for model, cohort in product(params.models, params.tasks):
        bags = Bags(f"{params.embeddings}/{model}/{cohort}", memory, params.device)
        tissues, tasks = tissues_of(f"{params.cohorts}/{cohort}"), params.tasks[cohort]
        found = classify(cohort, tissues, tasks, bags, params.settings, params.seeds, params.device)
        rows += [(model, *row) for row in found[0]]
        maps |= found[1] if model == params.models[0] else {}
        facts.setdefault(model, {})[cohort] = found[2]
    table = pd.DataFrame(rows, columns=COLUMNS)
    log.info("%d tissues in %d tasks", table["tissue_id"].nunique(), len(table["task"].unique()))
    with staged(files.predictions, files.attention, files.facts) as parts:
        table.to_parquet(parts[0], index=False)
        with parts[1].open("wb") as file:
            np.savez(file, **maps)
        parts[2].write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main, globals())
