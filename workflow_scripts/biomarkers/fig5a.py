"""Patients, responders and samples at each time of treatment (Fig. 5a)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from workflow_scripts.biomarkers.treated import GROUPS, treated_tissues, visit_counts
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.numbers import not_run, number
from workflow_scripts.common.tasks import tissues_of

LABELS = {"responder": "responders", "non_responder": "non-responders"}


def summarise(table, counts, funnel):
    """Return the entries of numbers.json."""
    patients = table.drop_duplicates("patient_id")
    numbers = {
        "C070": number(len(patients)),
        "C071": number((patients["group"] == GROUPS[0]).sum()),
    }
    for row in counts.itertuples():
        key = f"{row.group}_{row.time}"
        numbers[f"patients_{key}"] = number(row.patients)
        numbers[f"samples_{key}"] = number(row.samples)
    for row in funnel.itertuples():
        numbers[f"patients: {row.condition}"] = number(
            row.patients, reason=f"{row.tissues} samples"
        )
    return numbers


def draw(counts, funnel, times):
    """Return the figure: patients and samples by time, and what every condition leaves."""
    figure, axes = plt.subplots(1, 3, figsize=figsize(183, 50), width_ratios=[1, 1, 0.7])
    for axis, what in zip(axes, ("patients", "samples"), strict=False):
        for shift, group in zip((-0.2, 0.2), GROUPS, strict=True):
            rows = counts[counts["group"] == group]
            bars = axis.bar(
                np.arange(len(times)) + shift,
                rows[what],
                0.38,
                color=colour("groups", group),
                hatch="" if group == GROUPS[0] else "////",
                edgecolor="white",
                label=LABELS[group],
            )
            axis.bar_label(bars, fontsize=5, padding=1)
        axis.set_xticks(range(len(times)), times, fontsize=5)
        axis.yaxis.get_major_locator().set_params(integer=True)
        axis.set(ylabel=what, ylim=(0, 1.25 * max(counts[what].max(), 1)))
    axes[0].legend(loc="upper right", ncols=2)
    steps = axes[2]
    y = np.arange(len(funnel))
    bars = steps.barh(y, funnel["patients"], 0.6, color="#BBBBBB")
    steps.bar_label(bars, fontsize=5, padding=1)
    steps.set_yticks(y, funnel["condition"], fontsize=5)
    steps.xaxis.get_major_locator().set_params(integer=True)
    steps.set(xlabel="patients left", xlim=(0, 1.15 * funnel["patients"].max()))
    steps.invert_yaxis()
    return figure


def main(snakemake):
    """Count; where a column is absent, say which."""
    style()
    params = snakemake.params
    figure, table, reason = None, None, params.reason
    numbers = {claim: not_run(reason) for claim in params.target["claims"]}
    if not reason:
        settings = params.settings
        try:
            tissues = tissues_of(params.cohort_folder)
            found, funnel = treated_tissues(tissues, params.task, settings, params.where)
            table = visit_counts(found, settings["times"])
            numbers = summarise(found, table, funnel)
            figure = draw(table, funnel, settings["times"])
            log.info("%d tissues of %d patients", len(found), found["patient_id"].nunique())
        except InputError as error:
            reason = str(error)
            numbers = {claim: not_run(reason) for claim in params.target["claims"]}
    save_target(
        Path(snakemake.output.numbers).parent,
        params.target["id"],
        figure,
        table,
        numbers,
        params.target["caption"],
        params.simulated,
        f"not run: {reason}" if reason else "done",
    )


if __name__ == "__main__":
    run(main, globals())
