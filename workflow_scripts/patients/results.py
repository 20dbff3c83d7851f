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
