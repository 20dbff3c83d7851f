"""The rule on cells whose types differ between train and test split."""

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


@pytest.fixture
def job(tmp_path):
    """Return a function that writes cells of some patients and returns the job."""

    def write(patients):
        tissues = [
            {"tissue_id": f"t{p}", "patient_id": p, "split": patients[p][0]} for p in patients
        ]
        cells = [
            {"tissue_id": f"t{p}", "cell_id": i, "type": kind}
            for p, (_, kinds) in patients.items()
            for i, kind in enumerate(kinds, start=1)
        ]
        pd.DataFrame(tissues).to_parquet(tmp_path / "tissues.parquet")
        pd.DataFrame(cells).to_parquet(tmp_path / "cells.parquet")
        (tmp_path / "embeddings").mkdir()
        store = TokenStore(tmp_path / "embeddings")
        place = {"T": [3.0, 0.0], "B": [0.0, 3.0], "NK": [3.0, 3.0], "Treg": [0.0, 0.0]}
        tokens = np.array([place[cell["type"]] for cell in cells], np.float32)
        store.append("cells", tokens, [{k: c[k] for k in ("tissue_id", "cell_id")} for c in cells])
        store.close()
        names = ("embeddings", "cells.parquet", "tissues.parquet")
        paths = {name.split(".")[0]: str(tmp_path / name) for name in names}
        return SimpleNamespace(
            input=SimpleNamespace(**paths),
            params=SimpleNamespace(label="type", regularisation=1.0, max_iterations=1000),
            output=SimpleNamespace(confusion=str(tmp_path / "confusion.parquet")),
        )

    return write


def test_a_type_without_a_train_cell_is_said_and_counted(job, caplog):
    job = job(PATIENTS | {"p4": ("train", ["Treg"])})
    with caplog.at_level(logging.WARNING):
        probe_cells.main(job)
    assert "F1 of 0, as no train cell has the type: NK" in caplog.text
    assert "not scored, as no test cell has the type: Treg" in caplog.text
    table = pd.read_parquet(job.output.confusion)
    assert table[table["unlearned"]]["truth"].tolist() == ["NK"]
    assert table["cells"].sum() == 4 and table["converged"].all()


@pytest.mark.parametrize("patients", [["p1"], ["p2", "p3"], []])
def test_a_cohort_of_one_patient_or_one_split_leaves_an_empty_table(job, patients):
    job = job({p: PATIENTS[p] for p in patients} or {"p0": ("train", ["T"])})
    probe_cells.main(job)
    table = pd.read_parquet(job.output.confusion)
    assert table.empty and "unlearned" in table
