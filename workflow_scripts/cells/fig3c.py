"""Cell types with the model of all cohorts against the model of one cohort (Fig. 3c)."""

from pathlib import Path

import numpy as np

from workflow_scripts.cells.probes import draw_tasks, macro_numbers, read_probes, score_all
from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.figures import save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.common.scores import difference, paired

COHORT = "danenberg2022"
CLASSES = {"C032": "b cell", "C033": "myeloid", "C034": "nk", "C035": "t cell"}


def relative_gains(first, second, repeats, seed):
    """Return {class: (relative gain in F1 in percent, low, high)}; NaN where it does not exist."""
    draws = resamples(len(first.patients), repeats, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = 100 * (first.f1() / second.f1() - 1)
        drawn = 100 * (first.f1(draws) / second.f1(draws) - 1)
    drawn[~np.isfinite(drawn)] = np.nan
    return {
        kind: (value, *interval(drawn[:, i]))
        for i, (kind, value) in enumerate(zip(first.classes, values, strict=True))
    }


def statements(both, repeats, seed, weights):
    """Return the paper's statements on single classes, and whether nearly all of them gain."""
    first, second = both
    patients = len(first.patients)
    common = {"n": patients, "weights": weights}
    gains = relative_gains(first, second, repeats, seed)
    by_name = {kind.lower().rstrip("s"): kind for kind in gains}
    numbers = {}
    for claim, words in CLASSES.items():
        kind = by_name.get(words)
        if kind is None:
            numbers[claim] = not_run(f"no test cell has the class {words}")
        elif not np.isfinite(gains[kind][0]):
            numbers[claim] = not_run("F1 of the model of one cohort is 0")
        else:
            numbers[claim] = number(*gains[kind], **common)
    better = int((first.f1() > second.f1()).sum())
    numbers["C115"] = number(
        float(better >= len(first.classes) - 1),
        reason=f"better in {better} of {len(first.classes)} classes; one may be worse",
        **common,
    )
    gap, low, high, p = difference(first, second, repeats, seed)
    reason = "too few patients for a test" if p is None else f"paired test, p = {p:.3g}"
    numbers["lead_macro_f1"] = number(gap, low, high, reason=reason, **common)
    return numbers


def main(snakemake):
    """Compare the two instances on every granularity of the cohort; say so when one is missing."""
    style()
    files, params = snakemake.input, snakemake.params
    probes, tasks = read_probes(files.counts), [tuple(task) for task in params.tasks]
    weights = {Path(path).parent.name: weights_of(path) for path in files.metrics}
    rows, missing = score_all(probes, tasks, params.models, params.bootstrap, params.seed)
    numbers = macro_numbers(probes, rows, missing, weights)
    reason = "no instance of this study is trained on one benchmark cohort alone"
    if len(params.models) == 2 and tasks:
        reason = next(iter(missing.values()), None)
    if reason is None:
        both = paired(*(probes.table(model, tasks[0]) for model in params.models))
        named = "; ".join(weights[model] for model in params.models if model in weights)
        numbers |= statements(both, params.bootstrap, params.seed, named)
        if tasks[0][0].removeprefix("sim_") != COHORT:
            other = f"the statement is about {name(COHORT)}; this is {name(tasks[0][0])}"
            numbers |= {claim: not_run(other) for claim in params.target["claims"]}
        figure, status = draw_tasks(rows), "done"
    else:
        numbers |= {claim: not_run(reason) for claim in params.target["claims"]}
        figure, rows, status = None, None, f"not run: {reason}"
    folder = Path(snakemake.output.numbers).parent
    caption = params.target["caption"]
    save_target(folder, "fig3c", figure, rows, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
