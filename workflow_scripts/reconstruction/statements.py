"""What the paper states about reconstruction, and what we add to each cohort: Fig. 2d."""

import numpy as np

from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.numbers import not_run, number
from workflow_scripts.reconstruction.scores import (
    PRINTED,
    average,
    counts,
    means,
    paired_p,
)

CLAIMS = ("C020", "C021", "C027")
UNDEFINED = "no marker varies in the test tissues"


def resampled(cohorts, repeats):
    """Return bootstrap weights [repeats, patients] per cohort; each has a seed of its own."""
    return [resamples(len(s.patients), repeats, seed) for seed, s in enumerate(cohorts)]


def complete(draws):
    """Return the weights with cohorts of too few patients counted as they are in every draw."""
    repeats = max(len(weights) for weights in draws)
    return [w if len(w) else np.ones((repeats, w.shape[1])) for w in draws]


def statements(cohorts, draws, common):
    """Return the paper's statements over `cohorts` [Scores], each weighing as its markers (D3).

    `draws`: their bootstrap weights; a cohort of too few patients counts as it is in all of them,
    and there is no interval when all cohorts are so small.
    """
    once = [None] * len(cohorts)
    centre, sd = average(cohorts, once)
    if np.isnan(centre):
        return {claim: not_run(UNDEFINED) for claim in CLAIMS}
    centres, sds = average(cohorts, complete(draws))
    strict, _ = average(cohorts, once, strict=True)
    careful = (strict, "channels of a marker measured twice hidden together (D6)")
    return {
        "C020": number(centre, *interval(centres), careful=careful, **common),
        "C027": number(sd, *interval(sds), **common),
        "C021": number(float(all(_leads(cohorts, strategy) for strategy in PRINTED)), **common),
    }


def _leads(cohorts, strategy):
    """Whether the model is above the baseline over the markers of all cohorts together."""
    weights = [counts(scores, strategy)[0] for scores in cohorts]
    pairs = np.array([means(scores, strategy) for scores in cohorts])
    some = np.array(weights) > 0
    model, baseline = np.average(pairs[some], axis=0, weights=np.array(weights)[some])
    return bool(model > baseline)


def per_cohort(scores, weights, common):
    """Return the model's and the baseline's mean, the lead and its paired test, per strategy."""
    numbers = {}
    for metric, short, prefix in (("pearson_r", "r", ""), ("f1", "f1", "f1_")):
        for strategy in PRINTED:
            key = f"{scores.cohort}_{strategy}"
            there, missing = counts(scores, strategy, metric)
            if not there:
                numbers[f"{short}_{key}"] = not_run(UNDEFINED)
                continue
            left_out = f"; {missing} constant in the test tissues left out" if missing else ""
            ours = common | {
                "n": len(scores.patients),
                "reason": f"mean over {there} markers{left_out}",
            }
            model, baseline = means(scores, strategy, metric)
            drawn = means(scores, strategy, metric, weights)
            numbers[f"{short}_{key}"] = number(model, *interval(drawn[0]), **ours)
            numbers[f"{prefix}baseline_{key}"] = number(baseline, *interval(drawn[1]), **ours)
            lead = interval(drawn[0] - drawn[1])
            numbers[f"{prefix}lead_{key}"] = number(model - baseline, *lead, **ours)
            one_each = means(scores, strategy, metric, np.eye(len(scores.patients)))
            numbers[f"{prefix}p_{key}"] = tested(paired_p(*one_each), ours)
    return numbers


def tested(p, common):
    """Return the entry of a paired p value, or why there is none."""
    if p is None:
        return not_run("fewer than three test patients")
    reason = "Wilcoxon's signed-rank test, paired by test patient"
    return number(p, **(common | {"reason": reason}))


def absent_numbers(absent):
    """Return an entry for each cohort that is not here, which says so; `absent`: id -> reason."""
    return {f"r_{cohort}": not_run(f"data not supplied: {why}") for cohort, why in absent.items()}


def summarise(cohorts, compared, repeats, seeds, weights, absent):
    """Return the entries of numbers.json: the paper's statements, and ours of every cohort.

    `compared`: ids of the cohorts that the statements are about. Patients are resampled within
    each cohort; a cohort with a single test patient leaves no interval.
    """
    draws = resampled(cohorts, repeats)
    common = {"seeds": seeds, "weights": weights}
    chosen = [i for i, scores in enumerate(cohorts) if scores.cohort in compared]
    if chosen:
        reason = f"over {len(chosen)} cohorts; the paper averages over 14"
        patients = sum(len(cohorts[i].patients) for i in chosen)
        numbers = statements(
            [cohorts[i] for i in chosen],
            [draws[i] for i in chosen],
            common | {"n": patients, "reason": reason},
        )
    else:
        reason = "none of the paper's cohorts is in this study"
        numbers = {claim: not_run(reason) for claim in CLAIMS}
    for scores, drawn in zip(cohorts, draws, strict=True):
        numbers |= per_cohort(scores, drawn, common)
    return numbers | absent_numbers(absent)
