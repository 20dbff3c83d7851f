"""F1 of cell types carried from one cohort to another, for every model (Fig. 3g, T6)."""

import json
from pathlib import Path

import pandas as pd

from workflow_scripts.cells.probe_cells import confusion
from workflow_scripts.cells.probes import MEAN, Probes, absent, draw_tasks, macro_numbers, score_all
from workflow_scripts.common.figures import save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.common.scores import difference, paired

CLAIMS = {"C038": "kronos", "C039": "mean_intensity"}


def read_transfers(paths, task):
    """Return the Probes of transferred labels; `paths`: cells of rule transfer_labels."""
    counts, facts = {}, {}
    for path in map(Path, paths):
        cells, model = pd.read_parquet(path), path.parent.name
        table = confusion(cells, cells["predicted"])
        counts[model] = table.assign(cohort=task[0], label=task[1])
        facts[model] = {"/".join(task): json.loads(path.with_name("facts.json").read_text())}
    return Probes(counts, facts)


def statements(transfers, task, rows, entries, params):
    """Return the paper's statements: three scores, and where VirTues gains on mean intensities."""
    ours, beside = params.models[0], params.unseen
    key = "macro_f1_{}_{}_".format(*task)
    numbers = {}
    for claim, model in {"C037": ours, **CLAIMS}.items():
        entry = entries.get(key + model)
        numbers[claim] = entry or not_run(f"{name(model)} is not among the models of this study")
    careful = {"C037": (beside, "a model that has not seen the target (T6)")}
    careful["C039"] = ("mean_counts", "raw counts (D9)")
    for claim, (model, words) in careful.items():
        entry = entries.get(f"{key}{model}")
        if entry and entry["status"] == "done" and numbers[claim]["status"] == "done":
            numbers[claim] = numbers[claim] | {"careful": {"value": entry["value"], "label": words}}
    numbers["C116"] = largest_gain(rows, ours)
    for model in params.models[1:]:
        tables = [transfers.table(m, task) for m in (ours, model)]
        both = None if any(t is None for t in tables) else paired(*tables)
        if both:
            gap, low, high, p = difference(*both, params.bootstrap, params.seed)
            reason = "too few patients for a test" if p is None else f"paired test, p = {p:.3g}"
            patients = len(both[0].patients)
            numbers[f"lead_over_{model}"] = number(gap, low, high, n=patients, reason=reason)
    return numbers


def without_nucleus(transfers, task, nucleus):
    """Return a sentence for the caption where KRONOS had no nucleus marker (D10), or nothing."""
    facts = transfers.facts.get("kronos", {}).get("/".join(task), {})
    if nucleus in facts.get("markers", [nucleus]):
        return ""
    return " KRONOS reads both cohorts without its nucleus marker, which they do not share."


def largest_gain(rows, ours):
    """Return whether vessels gain most over mean intensities, T and immune cells gaining too."""
    f1 = rows[rows["class"] != MEAN].pivot(index="class", columns="model", values="f1")
    if not {ours, "mean_intensity"} <= set(f1):
        return not_run("needs mean intensities beside the model")
    gain = f1[ours] - f1["mean_intensity"]
    gain.index = gain.index.str.lower().str.rstrip("s")
    if not {"vessel", "t cell", "immune"} <= set(gain.index):
        return not_run("the target lacks one of the classes vessel, T cell and immune")
    holds = gain.idxmax() == "vessel" and gain["t cell"] > 0 and gain["immune"] > 0
    return number(float(holds), n=len(gain))


def main(snakemake):
    """Score the labels of every model; where there are none, say why."""
    style()
    files, params = snakemake.input, snakemake.params
    target = params.target
    task = (params.settings["target"], params.settings["label"])
    rows, figure, status = None, None, f"not run: {params.reason}"
    numbers = {claim: not_run(params.reason) for claim in target["claims"]}
    caption = target["caption"]
    if not params.reason:
        transfers = read_transfers(files.cells, task)
        caption += without_nucleus(transfers, task, params.nucleus)
        weights = {Path(path).parent.name: weights_of(path) for path in files.metrics}
        rows, missing = score_all(transfers, [task], params.models, params.bootstrap, params.seed)
        numbers = macro_numbers(transfers, rows, missing, weights, [params.seed])
        if rows is None:
            status = f"not run: {next(iter(missing.values()))}"
            numbers |= {claim: not_run(status[9:]) for claim in target["claims"]}
        else:
            numbers |= statements(transfers, task, rows, numbers, params)
            figure, status = draw_tasks(rows, absent(params.models)), "done"
    folder = Path(snakemake.output.numbers).parent
    save_target(folder, "fig3g", figure, rows, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
