"""What Fig. 4f shows: every model's macro-F1 on every task, compared with VirTues, as entries."""

from dataclasses import dataclass, field

import numpy as np

from workflow_scripts.common.bootstrap import interval
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number
from workflow_scripts.common.scores import holm
from workflow_scripts.patients import tissue_scores as s

BY_PATIENT = "by patient: mean probability of a patient's images"


@dataclass
class TaskResult:
    """One task of one cohort: Scores by model, of images and of patients, and comparisons.

    `remark`: classes that one of the splits lacks; `comparisons`: rival -> what `compare` returns,
    to which `holm_p` is added over all tasks; `fraction`: Score of the tumour fraction alone, or
    why there is none.
    """

    cohort: str
    task: str
    images: dict
    patients: dict
    discordant: int
    test_images: int
    remark: str
    fraction: object = None
    comparisons: dict = field(default_factory=dict)


def task_result(cohort, task, rows, virtues, repeats, seed):
    """Return the TaskResult of `rows`: model -> its predictions of this task."""
    images, patients = (
        {model: s.score(choose(own), repeats, seed) for model, own in rows.items()}
        for choose in (s.predicted_images, s.predicted_patients)
    )
    first = next(iter(rows.values()))
    facts = s.discordant_patients(first), first["tissue_id"].nunique(), s.missing_classes(first)
    result = TaskResult(cohort, task, images, patients, *facts)
    if virtues in images:
        result.comparisons = {
            rival: s.compare(images[virtues], images[rival]) for rival in images if rival != virtues
        }
    return result


def adjust(results):
    """Add Holm's adjusted p of the patient bootstrap to all comparisons (T7)."""
    found = [c for result in results for c in result.comparisons.values()]
    tested = [c for c in found if c["bootstrap_p"] is not None]
    adjusted = holm([c["bootstrap_p"] for c in tested])
    for comparison in found:
        comparison["holm_p"] = None
    for comparison, p in zip(tested, adjusted, strict=True):
        comparison["holm_p"] = float(p)


def f1_number(result, model, weights):
    """Return the entry of a model's macro-F1, with that of patients beside it (T8)."""
    score, patients = result.images[model], result.patients[model]
    low, high = interval(score.draws)
    reason = "" if score.spread is None else f"sd over seeds {score.spread:.3f}"
    reason = "; ".join(filter(None, [reason, result.remark]))
    label = BY_PATIENT
    if result.discordant:
        label += f", without {result.discordant} whose images differ in class"
    careful = (patients.mean, label) if len(patients.f1) else None
    return number(
        score.mean,
        low,
        high,
        n=len(score.patients),
        seeds=score.seeds,
        weights=weights.get(model),
        careful=careful,
        reason=reason or None,
    )


def gain_number(result, rival, virtues, weights, reason=None):
    """Return the entry of a relative gain; beside it, that of patients (T8)."""
    found, score = result.comparisons[rival], result.images[virtues]
    ours, theirs = (result.patients[model].mean for model in (virtues, rival))
    gain = float(s.relative_gain(ours, theirs))
    if np.isnan(found["gain"]):
        return not_run(f"macro-F1 of {name(rival)} is 0, over which no gain can be given")
    return number(
        found["gain"],
        found["gain_low"],
        found["gain_high"],
        n=len(score.patients),
        seeds=score.seeds,
        weights=weights.get(virtues),
        careful=None if np.isnan(gain) else (gain, BY_PATIENT),
        reason=reason,
    )


def p_number(result, rival, virtues, weights, reason=None):
    """Return the entry of a Mann-Whitney p; beside it, the patient bootstrap's (T7)."""
    found, score = result.comparisons[rival], result.images[virtues]
    careful = found["holm_p"], "paired bootstrap of patients, Holm over tasks and rivals"
    careful = None if found["holm_p"] is None else careful
    return number(
        found["mann_whitney_p"],
        n=len(score.patients),
        seeds=score.seeds,
        weights=weights.get(virtues),
        careful=careful,
        reason=reason,
    )


def summarise(results, virtues, weights):
    """Return the entries of all tasks and models, whatever the statements are about."""
    numbers = {}
    for result in results:
        place = f"{result.cohort}_{result.task}"
        for model in result.images:
            numbers[f"macro_f1_{place}_{model}"] = f1_number(result, model, weights)
        for rival in result.comparisons:
            numbers[f"gain_{place}_{rival}"] = gain_number(result, rival, virtues, weights)
            numbers[f"p_{place}_{rival}"] = p_number(result, rival, virtues, weights)
        if isinstance(result.fraction, s.Score):
            low, high = interval(result.fraction.draws)
            n = len(result.fraction.patients)
            entry = number(result.fraction.mean, low, high, n=n)
        else:
            entry = not_run(result.fraction or "no cell label says what is tumour")
        numbers[f"macro_f1_{place}_tumour_fraction"] = entry
    return numbers
