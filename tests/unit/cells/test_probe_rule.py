"""The rule on cells whose types differ between splits, and on what cannot be probed."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.cells import probe_cells
from workflow_scripts.common.tokens import TokenStore

# patient: split, types of its cells
PATIENTS = {
    "p1": ("train", ["T", "B", "T", "B"]),
    "p2": ("test", ["T", "B"]),
    "p3": ("test", ["NK", "B"]),
}
PLACE = {"T": [3.0, 0.0], "B": [0.0, 3.0], "NK": [3.0, 3.0], "Treg": [0.0, 0.0]}


@pytest.fixture
def job(tmp_path):
    """Return a function that writes cells of some patients and returns the job."""

    def write(patients, label="type", tokens=True):
        metadata = tmp_path / "cohorts/c/metadata"
        metadata.mkdir(parents=True)
        tissues = [
            {"tissue_id": f"t{p}", "patient_id": p, "split": patients[p][0]} for p in patients
        ]
        cells = [
            {"tissue_id": f"t{p}", "cell_id": i, "type": kind}
            for p, (_, kinds) in patients.items()
            for i, kind in enumerate(kinds, start=1)
        ]
        pd.DataFrame(tissues).to_parquet(metadata / "tissues.parquet")
        pd.DataFrame(cells).to_parquet(metadata / "cells.parquet")
        folder = tmp_path / "embeddings/c"
        folder.mkdir(parents=True)
        store = TokenStore(folder)
        if tokens:
            values = np.array([PLACE[cell["type"]] for cell in cells], np.float32)
            rows = [{k: c[k] for k in ("tissue_id", "cell_id")} for c in cells]
            store.append("cells", values, rows)
        store.close()
        settings = {"regularisation": 1.0, "max_iterations": 1000, "memory_mb": 0}
        return SimpleNamespace(
            input=SimpleNamespace(
                embeddings=[str(folder)],
                cells=[str(metadata / "cells.parquet")],
                tissues=[str(metadata / "tissues.parquet")],
            ),
            params=SimpleNamespace(tasks=[("c", label)], settings=settings),
            output=SimpleNamespace(
                counts=str(tmp_path / "m.parquet"), facts=str(tmp_path / "m.json")
            ),
        )

    return write


def results(job):
    probe_cells.main(job)
    with open(job.output.facts) as file:
        return pd.read_parquet(job.output.counts), json.load(file)


def test_a_type_missing_from_one_split_is_said_and_counted(job):
    table, facts = results(job(PATIENTS | {"p4": ("train", ["Treg"])}))
    fact = facts["c/type"]
    assert fact["unlearned"] == ["NK"] and fact["unscored"] == ["Treg"] and fact["converged"]
    assert table["cells"].sum() == 4 and fact["train_cells"] == 5


@pytest.mark.parametrize(
    ("patients", "reason"),
    [
        (["p1"], "no labelled cell in the test split (1 labelled patients)"),
        (["p2", "p3"], "no labelled cell in the train split (2 labelled patients)"),
    ],
)
def test_a_cohort_of_one_split_is_not_run_with_its_reason(job, patients, reason, caplog):
    with caplog.at_level(logging.WARNING):
        table, facts = results(job({p: PATIENTS[p] for p in patients}))
    assert facts["c/type"]["status"] == f"not run: {reason}" and reason in caplog.text
    assert table.empty and list(table) == probe_cells.COLUMNS


def test_a_cohort_without_labels_or_tokens_is_not_run(job, tmp_path):
    _, facts = results(job(PATIENTS, label="fine"))
    assert facts["c/fine"]["status"] == "not run: the cohort has no fine labels"


def test_a_model_without_cell_tokens_is_not_run(job):
    _, facts = results(job(PATIENTS, tokens=False))
    assert facts["c/type"]["status"] == "not run: the model gives this cohort no cell tokens"


def test_a_single_train_type_is_not_run(job):
    _, facts = results(job({"p1": ("train", ["T", "T"]), "p2": PATIENTS["p2"]}))
    assert facts["c/type"]["status"] == "not run: all train cells are T"
