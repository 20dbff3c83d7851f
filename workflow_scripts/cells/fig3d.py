"""Cell types in cohorts that pretraining saw or did not see (Fig. 3d, T13)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workflow_scripts.cells.probes import MEAN, lacking, of_the_paper, read_probes, score_all
from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.common.scores import difference, paired

ROLES = {"in_domain": "virtues", "zero_shot": "zero_shot"}
WORDS = {"in_domain": "pretrained with the cohort", "zero_shot": "pretrained without it"}


def summarise(pairs, repeats, seed, weights):
    """Return the entries; `pairs`: (task, Confusion in-domain, Confusion zero-shot, instance)."""
    numbers, gaps, draws = {}, [], []
    for place, ((cohort, label), seen, unseen, instance) in enumerate(pairs):
        gap, low, high, p = difference(seen, unseen, repeats, seed + place)
        reason = "too few patients for a test" if p is None else f"paired test, p = {p:.3g}"
        numbers[f"loss_{cohort}_{label}"] = number(
            gap, low, high, n=len(seen.patients), weights=weights.get(instance), reason=reason
        )
        if not of_the_paper(cohort):
            continue
        gaps.append(gap)
        drawn = resamples(len(seen.patients), repeats, seed + place)
        if len(drawn):
            draws.append(np.abs(seen.macro_f1(drawn) - unseen.macro_f1(drawn)))
    pairs = [pair for pair in pairs if of_the_paper(pair[0][0])]
    if others := lacking(cohort for (cohort, _), *_ in pairs):
        lack = f"no instance without {' or '.join(others)} was compared"
        return numbers | {"C036": not_run(f"the statement is about all four cohorts: {lack}")}
    limits = interval(np.max(draws, axis=0)) if len(draws) == len(pairs) else (None, None)
    numbers["C036"] = number(
        max(map(abs, gaps)),
        *limits,
        n=sum(len(seen.patients) for _, seen, _, _ in pairs),
        reason=f"largest difference over {len(pairs)} cohorts, whichever is better; the probe is "
        "trained on the target (T13)",
    )
    return numbers


def draw(rows):
    """Return the figure: macro-F1 per cohort, both instances with their intervals."""
    figure, axis = plt.subplots(figsize=figsize(89, 60))
    tasks = list(dict.fromkeys(zip(rows["cohort"], rows["label"], strict=True)))
    for offset, (role, shape) in zip(
        (-0.1, 0.1), (("in_domain", "o"), ("zero_shot", "X")), strict=True
    ):
        part = rows[rows["role"] == role]
        x, shade = np.arange(len(part)) + offset, colour("models", ROLES[role])
        axis.vlines(x, part["low"].astype(float), part["high"].astype(float), color=shade, lw=0.6)
        axis.plot(x, part["f1"], shape, color=shade, label=WORDS[role])
    patients = rows.drop_duplicates(["cohort", "label"])["test_patients"]
    ticks = [
        f"{name(c).replace(' (', chr(10) + '(')}\n{label.replace('_', ' ')}\n{n} test patients"
        for (c, label), n in zip(tasks, patients, strict=True)
    ]
    axis.set_xticks(range(len(tasks)), ticks, fontsize=5)
    axis.set_xlim(-0.5, len(tasks) - 0.5)
    axis.set_ylim(0, 1)
    axis.set_ylabel("macro-F1")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def main(snakemake):
    """Compare both instances in every cohort that has them; name the others."""
    style()
    files, params = snakemake.input, snakemake.params
    probes, numbers, pairs, frames = read_probes(files.counts), {}, [], []
    weights = {Path(path).parent.name: weights_of(path) for path in files.metrics}
    for cohort, label, instance in params.tasks:
        task, models = (cohort, label), (params.virtues, instance)
        rows, missing = score_all(probes, [task], models, params.bootstrap, params.seed)
        both = None if missing else paired(*(probes.table(model, task) for model in models))
        if both is None:
            reason = next(iter(missing.values()), "the instances were not scored on the same cells")
            numbers[f"loss_{cohort}_{label}"] = not_run(reason)
            continue
        pairs.append((task, *both, instance))
        means = rows[rows["class"] == MEAN]
        frames.append(means.assign(role=["in_domain", "zero_shot"]))
    figure, table, status = None, None, "not run: no benchmark cohort was left out of a pretraining"
    if pairs:
        table, status = pd.concat(frames, ignore_index=True), "done"
        numbers |= summarise(pairs, params.bootstrap, params.seed, weights)
        figure = draw(table)
    else:
        numbers["C036"] = not_run(status.removeprefix("not run: "))
    folder = Path(snakemake.output.numbers).parent
    caption = params.target["caption"]
    save_target(folder, "fig3d", figure, table, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
