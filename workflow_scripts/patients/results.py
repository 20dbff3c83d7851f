"""What rule risk_groups found, as the figures about risk groups read it."""

import json
from pathlib import Path

import pandas as pd

from workflow_scripts.common.figures import save_target
from workflow_scripts.common.numbers import not_run


def sources_of(patients):
    """Return by what patients were grouped: models, VirTues first, and published phenotypes."""
    return [c.removeprefix("risk_") for c in patients.columns if c.startswith("risk_")]


def structures_of(path, patients):
    """Return the cells of each patient in each structure, in the order of `patients`."""
    return pd.read_parquet(path).set_index("patient_id").loc[patients["patient_id"]]


def read_facts(path):
    """Return why there are no groups (or None), and the patients that each step left."""
    facts = json.loads(Path(path).read_text(encoding="utf-8"))
    return facts["reason"], facts["funnel"]


def save(snakemake, figure, source, numbers, reason=None):
    """Write the target; with a `reason` its statements are not run and there is no picture."""
    target = snakemake.params.target
    status = f"not run: {reason}" if reason else "done"
    if reason:
        numbers = numbers | {claim: not_run(reason) for claim in target["claims"]}
    folder, caption = Path(snakemake.output.numbers).parent, target["caption"]
    simulated = snakemake.params.simulated
    save_target(folder, target["id"], figure, source, numbers, caption, simulated, status)


def letter(axis, text):
    """Write a panel's letter beside the upper end of its axis."""
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "fontweight": "bold"}
    axis.annotate(text, (0, 1), (-28, 3), **place)


def legend_above(axis, title=None, ncols=1):
    """Put an axis's legend above it, where it hides no curve."""
    axis.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), title=title, ncols=ncols,
                alignment="left", borderaxespad=0.2)  # fmt: skip


def log_ticks(axis):
    """Give a logarithmic x axis plain numbers."""
    low, high = axis.get_xlim()
    marks = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
    marks = [mark for mark in marks if low <= mark <= high]
    axis.set_xticks(marks, [f"{mark:g}" for mark in marks])
    axis.minorticks_off()
