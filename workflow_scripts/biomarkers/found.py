"""What rule find_signatures wrote, as the figures read it."""

import json
from pathlib import Path

import pandas as pd

from workflow_scripts.biomarkers.selection import NAMES


def read_facts(path):
    """Return the signatures, facts, and why there are none, or None where there are."""
    record = json.loads(Path(path).read_text("utf-8"))
    status = record["status"]
    reason = None if status == "done" else status.removeprefix("not run: ")
    return record["signatures"], record["facts"], reason


def read_cells(cells, signatures):
    """Return the table of pre-treatment cells with a bool column for each signature."""
    cells, rows = pd.read_parquet(cells), pd.read_parquet(signatures)
    keys = pd.MultiIndex.from_frame(cells[["tissue_id", "cell_id"]])
    for name in NAMES:
        own = rows.loc[rows["signature"] == name, ["tissue_id", "cell_id"]]
        cells[name] = keys.isin(pd.MultiIndex.from_frame(own))
    return cells
