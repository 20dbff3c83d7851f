"""The claims table from numbers.json files, and the targets that are not run."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.figures import not_run, number, save_target
from workflow_scripts.common.numbers import read_numbers
from workflow_scripts.common.targets import (
    CLAIMS,
    FIGURES,
    by_claim,
    load_claims,
    load_targets,
    numbered,
)
from workflow_scripts.report import claims_table, record_not_run

WHY = "data not supplied"
OWNER = by_claim(load_targets(), load_claims())
REASONS = {target["id"]: WHY for target in load_targets()}


def empty(target, status="done"):
    return {"target": target, "status": status, "simulated": False, "numbers": {}}


@pytest.fixture
def records():
    """Every target without a number, and four that say different things."""
    records = {name: empty(name) for name in numbered(load_targets())}
    records["fig2d"]["numbers"] = {
        "C020": number(0.71, 0.70, 0.73, 9, [0, 1], "all14", (0.65, "patients")),
        "C021": number(0),
        "r_of_ours": number(0.5),
    }
    records["fig2h"] |= {"simulated": True, "numbers": {"C022": number(0.667)}}
    records["fig3b"] |= {"status": "not run: data not supplied"}
    records["fig3c"]["numbers"] = {"C032": not_run("too few B cells")}
    return records


def test_table(records):
    table = claims_table.claims_table(load_claims(), OWNER, records).set_index("id")
    assert len(table) == 154
    verdicts = {
        "C020": "reproduced",
        "C021": "differs",
        "C027": "not run: no number",
        "C022": "simulated data",
        "C030": "not run: data not supplied",
        "C032": "not run: too few B cells",
    }
    assert table.loc[list(verdicts), "verdict"].to_dict() == verdicts
    row = table.loc["C020"]
    assert list(row[["ours", "low", "high", "n", "seeds", "weights"]]) == [
        0.71,
        0.70,
        0.73,
        9,
        "0 1",
        "all14",
    ]
    assert list(row[["careful", "careful_label", "target"]]) == [0.65, "patients", "fig2d"]


def test_number_under_the_wrong_target(records):
    records["fig2d"]["numbers"]["C022"] = number(0.6)
    with pytest.raises(
        InputError, match="fig2d/numbers.json: C022 belongs to fig2h; write it there"
    ):
        claims_table.claims_table(load_claims(), OWNER, records)


def test_target_without_numbers(records):
    del records["fig1b"]
    with pytest.raises(InputError, match="fig1b: no numbers.json, needed for C005; run its rule"):
        claims_table.claims_table(load_claims(), OWNER, records)


@pytest.mark.parametrize("simulated", [False, True])
def test_rules(tmp_path, simulated):
    """record_not_run and claims_table as jobs: every row is there, and keeps its printed digits."""
    paths = [tmp_path / "figures" / name / "numbers.json" for name in numbered(load_targets())]
    job = SimpleNamespace(
        input=SimpleNamespace(figures=FIGURES),
        output=SimpleNamespace(numbers=paths),
        params=SimpleNamespace(simulated=simulated, reasons=REASONS),
    )
    record_not_run.main(job)
    job = SimpleNamespace(
        input=SimpleNamespace(claims=CLAIMS, figures=FIGURES, numbers=paths),
        output=SimpleNamespace(table=tmp_path / "claims.csv"),
    )
    claims_table.main(job)
    table = pd.read_csv(tmp_path / "claims.csv", dtype=str, keep_default_na=False)
    assert list(table["id"]) == [claim["id"] for claim in load_claims()]
    assert list(table["value"]) == [claim["value"] for claim in load_claims()]
    assert set(table["verdict"]) == {f"not run: {WHY}"}
    record = json.loads((tmp_path / "figures/fig4f/numbers.json").read_text())
    assert (record["picture"], record["simulated"]) == (False, simulated)
    assert len(record["numbers"]) == 44
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claims.csv", "figures"]


def test_not_run_removes_an_old_picture(tmp_path):
    folder = tmp_path / "fig1c"
    folder.mkdir()
    (folder / "fig1c.png").write_text("old")
    record_not_run.write_not_run(load_targets(), [folder / "numbers.json"], REASONS, False)
    assert [path.name for path in folder.iterdir()] == ["numbers.json"]
    assert read_numbers(folder / "numbers.json")["status"] == f"not run: {WHY}"


def test_not_run_refuses_an_unknown_target(tmp_path):
    with pytest.raises(InputError, match="'fig9z' is no target; expected one of figures.yaml"):
        record_not_run.write_not_run(
            load_targets(), [tmp_path / "fig9z/numbers.json"], REASONS, False
        )


def test_simulated_target_never_compares(tmp_path, records):
    """Whatever a simulated figure finds, no row of it is a result."""
    for name, record in records.items():
        mine = [claim for claim in load_claims() if OWNER[claim["id"]] == name]
        numbers = {claim["id"]: number(float(claim["value"])) for claim in mine}
        save_target(tmp_path / name, name, None, None, numbers, record["target"], simulated=True)
        records[name] = read_numbers(tmp_path / name / "numbers.json")
    table = claims_table.claims_table(load_claims(), OWNER, records)
    assert set(table["verdict"]) == {"simulated data"}
