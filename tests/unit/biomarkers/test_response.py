"""Who was treated, how far cells move, and the figures about it, on planted truth and none."""

import json
from types import SimpleNamespace

import numpy as np
import ot
import pandas as pd
import pytest

from demo.simulator.cohort import read_effects
from demo.simulator.tokens import simulate_tokens
from workflow_scripts.biomarkers import fig5a, fig5b, measure_response
from workflow_scripts.biomarkers.measure_response import (
    FEWEST,
    barycentre,
    barycentres,
    draw_cells,
    shifts,
    spread,
    treated_cells,
)
from workflow_scripts.biomarkers.shift_numbers import arrows, difference
from workflow_scripts.biomarkers.treated import GROUPS, treated_tissues, visit_counts
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.numbers import read_numbers
from workflow_scripts.common.targets import load_targets
from workflow_scripts.common.tokens import TokenStore, read_tokens

TARGETS = {target["id"]: target for target in load_targets()}
TIMES = ["Baseline", "On-treatment", "Post-treatment"]
TASK = {
    "column": "pCR",
    "classes": {"pCR": ["pCR"], "RD": ["RD"]},
    "where": {"Arm": ["C"]},  # replaced by the settings
}
SETTINGS = {
    "visit": "BiopsyPhase",
    "times": TIMES,
    "patients": {"Arm": ["C&I"]},
    "per_protocol": {"isPerProtocol": [True]},
    "epsilon": 1e-3,
    "epsilon_unit": "mean_cost",
    "tolerance": 0.05,
    "max_rounds": 50,
    "share": 0.2,
    "neighbours": 15,
    "barycentre_points": 20,
    "bootstrap": 100,
}


def tissue_table():
    """Return five patients: a and b respond, c does not, d had one drug, e has no outcome."""
    rows = [
        ("a", TIMES[0], "pCR", "C&I", True),
        ("a", TIMES[0], "pCR", "C&I", True),
        ("a", TIMES[2], "pCR", "C&I", True),
        ("b", TIMES[1], "pCR", "C&I", False),
        ("c", TIMES[0], "RD", "C&I", True),
        ("c", TIMES[1], "RD", "C&I", True),
        ("d", TIMES[0], "RD", "C", True),
        ("e", TIMES[0], None, "C&I", True),
        ("c", "later", "RD", "C&I", True),
    ]
    columns = ["patient_id", "BiopsyPhase", "pCR", "Arm", "isPerProtocol"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "tissue_id", [f"t{i}" for i in range(len(rows))])
    return table.set_index("tissue_id", drop=False)


def test_treated_patients_are_counted_step_by_step():
    table, funnel = treated_tissues(tissue_table(), TASK, SETTINGS, "x: tasks.response")
    assert table["tissue_id"].tolist() == ["t0", "t1", "t2", "t3", "t4", "t5"]
    assert funnel["patients"].tolist() == [5, 4, 3, 3, 2, 2]
    assert funnel["condition"].iloc[1] == "Arm is C&I" and funnel["tissues"].iloc[0] == 9
    counts = visit_counts(table, TIMES).set_index(["group", "time"])
    assert counts.loc[("responder", TIMES[0])].tolist() == [1, 2]
    assert counts.loc[("non_responder", TIMES[2])].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="Arm"), "x: expected the clinical column 'Arm', but the tissues"),
        (lambda t: t.drop(columns="pCR"), "x: expected the clinical column 'pCR', but the tissues"),
        (lambda t: t.assign(Arm="C"), "x: no patient is left after in the cohort and Arm is C&I"),
        (lambda t: t.assign(patient_id="a"), "x: patient a has tissues of both classes of pCR"),
    ],
)
def test_a_cohort_without_treated_patients_is_told(change, words):
    with pytest.raises(InputError, match=words):
        treated_tissues(change(tissue_table()), TASK, SETTINGS, "x")


def in_memory(tokens):
    """Return tokens that are read as those on disk."""
    return SimpleNamespace(oindex=tokens)


def simulated(seed, patients=60, cells=40):
    """Return tokens, their cells with group and time, and outcomes that belong to nobody."""
    cohort = simulate_tokens(read_effects(), "wang2023", patients, cells, seed)
    people = cohort.patients.set_index("patient_id")
    table = cohort.cells.assign(position=np.arange(len(cohort.cells)))
    table["group"] = np.where(table["patient_id"].map(people["pCR"]) == "pCR", *GROUPS)
    return cohort.tokens, table


def gap(table, seed=0):
    """Return the mean difference of shifts between groups, standardised, and its p."""
    whole = table[(table["start"] == TIMES[0]) & (table["end"] == TIMES[2])]
    responds = (whole["group"] == GROUPS[0]).to_numpy()
    return difference(whole["relative"].to_numpy(), responds, 100, seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_responders_shift_more_as_planted_and_not_when_dealt_to_others(seed):
    tokens, table = simulated(seed, patients=80, cells=120)
    moved = shifts(in_memory(tokens), table, SETTINGS | {"times": TIMES[::2]}, 0)
    assert len(moved) == 80 and (moved["distance"] >= 0.995 * moved["lowest"]).all()
    value, low, high, p = gap(moved)
    assert 0 < low < value < high and p < 1e-3
    dealt = np.random.default_rng(seed).permutation(moved["group"].to_numpy())
    assert gap(moved.assign(group=dealt))[3] > 0.01


def test_no_treatment_does_not_exceed_the_floor():
    """Cells of one place and time, dealt to two times at random, and the same with a real shift."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(10), 120)
    table = pd.DataFrame({"tissue_id": owner.astype(str), "patient_id": owner, "group": GROUPS[0]})
    table["position"], table["time"] = np.arange(1200), np.tile(np.repeat(TIMES[::2], 60), 10)
    tokens = rng.normal(size=(1200, 6))
    still = shifts(in_memory(tokens), table, SETTINGS, 0)
    assert (still["relative"] < still["floor"]).mean() > 0.7
    tokens[table["time"] == TIMES[2], 0] += 2
    moved = shifts(in_memory(tokens), table, SETTINGS, 0)
    assert (moved["relative"] > moved["floor"]).all()


def test_the_spread_is_that_of_random_pairs():
    tokens, table = simulated(0, patients=3)
    plain = np.asarray(tokens, float)
    expected = ot.dist(plain, plain).mean()
    assert spread(in_memory(tokens), table) == pytest.approx(expected, rel=1e-6)


def test_a_time_without_samples_makes_no_pair():
    tokens, table = simulated(0, patients=4)
    table = table[table["time"] != TIMES[1]]
    moved = shifts(in_memory(tokens), table, SETTINGS, 0)
    assert set(zip(moved["start"], moved["end"], strict=True)) == {(TIMES[0], TIMES[2])}
    few = shifts(in_memory(tokens), table.groupby("tissue_id").head(FEWEST - 1), SETTINGS, 0)
    assert few["floor"].isna().all() and few["distance"].notna().all()


def test_a_barycentre_lies_between_its_clouds():
    rng = np.random.default_rng(0)
    clouds = [rng.normal(size=(n, 2)) + place for n, place in ((40, 0), (15, 10), (25, 20))]
    centre = barycentre(clouds, 30, 0)
    assert centre.shape == (30, 2)
    np.testing.assert_allclose(centre.mean(0), [10, 10], atol=0.6)
    np.testing.assert_array_equal(centre, barycentre(clouds, 30, 0))
    single = barycentre([np.array([[1.0, 2.0]])], 5, 0)
    np.testing.assert_allclose(single, [[1, 2]] * 5, atol=1e-9)


def points(seed=0):
    """Return map points of two groups, of which the first moves by 2 from time to time."""
    rng, parts = np.random.default_rng(seed), []
    for model, scale in (("all14", 1.0), ("mean_intensity", 0.2)):
        for group, step in zip(GROUPS, (2.0, 0.5), strict=True):
            for number, time in enumerate(TIMES):
                part = pd.DataFrame(rng.normal(size=(60, 2)), columns=["x", "y"])
                part["x"] += scale * step * number
                owner = [f"{group}{i % 5}" for i in range(60)]
                parts.append(part.assign(patient_id=owner, time=time, group=group, model=model))
    return pd.concat(parts, ignore_index=True).assign(tissue_id="t", cell_id=1)


def test_arrows_are_displacements_of_medians():
    cloud = points()
    parts = [barycentres(p, SETTINGS, 0).assign(model=m) for m, p in cloud.groupby("model")]
    moved = arrows(pd.concat(parts), cloud, TIMES).set_index(["model", "group", "start"])
    assert moved.loc[("all14", GROUPS[0], TIMES[0]), "dx"] == pytest.approx(2, abs=0.7)
    assert moved.loc[("all14", GROUPS[1], TIMES[0]), "dx"] == pytest.approx(0.5, abs=0.7)
    lengths = moved["length"].groupby(["model", "group"]).sum()
    assert lengths["all14", GROUPS[0]] > lengths["all14", GROUPS[1]]


def shift_table(times=TIMES):
    rng, rows = np.random.default_rng(0), []
    for model, scale in (("all14", 1.0), ("mean_intensity", 0.7)):
        for group, size in zip(GROUPS, (0.5, 0.3), strict=True):
            for patient in range(8):
                for place, start in enumerate(times):
                    for end in times[place + 1 :]:
                        value = scale * size + 0.02 * rng.normal()
                        row = [model, f"{group}{patient}", group, start, end, 50, 60]
                        rows.append([*row, value, value, 0.2, 0.99 * value, 0.01])
    return pd.DataFrame(rows, columns=measure_response.SHIFT)


@pytest.fixture
def job(tmp_path):
    def make(table, cloud, status="done", reason=""):
        (tmp_path / "all14").mkdir(exist_ok=True)
        metrics = tmp_path / "all14/metrics.json"
        metrics.write_text(json.dumps({"instance": "all14", "weights_sha256": "abc"}))
        (tmp_path / "facts.json").write_text(json.dumps({"status": status}))
        parts = [
            barycentres(part, SETTINGS, 0).assign(model=model)
            for model, part in cloud.groupby("model")
        ]
        tables = {"shifts": table, "points": cloud, "barycentres": pd.concat(parts)}
        for name, part in tables.items():
            part.to_parquet(tmp_path / f"{name}.parquet")
        files = {name: tmp_path / f"{name}.parquet" for name in tables}
        return SimpleNamespace(
            input=SimpleNamespace(**files, facts=tmp_path / "facts.json", metrics=str(metrics)),
            output=SimpleNamespace(numbers=tmp_path / "fig5b/numbers.json"),
            params=SimpleNamespace(
                target=TARGETS["fig5b"],
                models=["all14", "mean_intensity"],
                settings=SETTINGS,
                reason=reason,
                seed=0,
                simulated=True,
            ),
        )

    return make


def test_fig5b_states_who_moves_more(job):
    wanted = job(shift_table(), points())
    fig5b.main(wanted)
    record = read_numbers(wanted.output.numbers)
    numbers = record["numbers"]
    assert record["picture"] and numbers["C150"]["value"] == numbers["C151"]["value"] == 1
    assert numbers["C150"]["careful"]["value"] < 1e-3
    assert numbers["C151"]["careful"]["value"] > 0
    key = f"shift_all14_responder_{TIMES[0]}_{TIMES[2]}"
    assert numbers[key]["low"] < 0.5 < numbers[key]["high"] and numbers[key]["careful"]


def test_fig5b_without_samples_at_a_time(job):
    cloud = points()
    wanted = job(shift_table(TIMES[:2]), cloud[cloud["time"] != TIMES[2]])
    fig5b.main(wanted)
    record = read_numbers(wanted.output.numbers)
    numbers = record["numbers"]
    assert record["picture"]
    reason = f"not run: no patient was sampled at both {TIMES[1]} and {TIMES[2]}"
    assert numbers[f"shift_{TIMES[1]}_{TIMES[2]}"]["status"] == reason
    assert numbers["C150"]["status"].startswith("not run: needs patients of both groups")


def test_fig5b_of_one_group_alone(job):
    table, cloud = shift_table(), points()
    alone = (part[part["group"] == GROUPS[0]] for part in (table, cloud))
    wanted = job(*alone)
    fig5b.main(wanted)
    record = read_numbers(wanted.output.numbers)
    assert record["picture"] and record["numbers"]["C151"]["value"] == 1
    assert record["numbers"]["C150"]["status"] == (
        "not run: needs patients of both groups with a first and a last sample"
    )


@pytest.mark.parametrize("where", ["status", "reason"])
def test_fig5b_passes_a_reason_on(where, job):
    given = {"status": "not run: no Arm"} if where == "status" else {"reason": "no Arm"}
    wanted = job(shift_table(), points(), **given)
    fig5b.main(wanted)
    record = read_numbers(wanted.output.numbers)
    assert record["status"] == record["numbers"]["C150"]["status"] == "not run: no Arm"


def test_fig5a_counts_the_statements(tmp_path):
    (tmp_path / "metadata").mkdir()
    table = tissue_table().reset_index(drop=True)
    for kept, status in ((table, "done"), (table.drop(columns="Arm"), "not run")):
        kept.to_parquet(tmp_path / "metadata/tissues.parquet")
        params = SimpleNamespace(
            target=TARGETS["fig5a"],
            task=TASK,
            where="x",
            settings=SETTINGS,
            cohort_folder=tmp_path,
            reason="",
            simulated=True,
        )
        output = SimpleNamespace(numbers=tmp_path / "fig5a/numbers.json")
        fig5a.main(SimpleNamespace(params=params, output=output))
        record = read_numbers(output.numbers)
        assert record["status"].startswith(status)
        if status == "done":
            numbers = record["numbers"]
            assert numbers["C070"]["value"] == 3 and numbers["C071"]["value"] == 2
        else:
            assert "expected the clinical column 'Arm'" in record["numbers"]["C070"]["status"]


def test_the_rule_writes_all_tables_or_the_reason(tmp_path, monkeypatch):
    # UMAP takes longer to compile than all else here; the embedded study runs it.
    monkeypatch.setattr(measure_response, "map_cells", lambda tokens, *_: tokens[:, :2])
    tokens, table = simulated(0, patients=8, cells=30)
    folder = tmp_path / "all14/wang2023"
    folder.mkdir(parents=True)
    on_disk = TokenStore(folder)
    on_disk.append("cells", tokens, table[["tissue_id", "cell_id"]].to_dict("records"))
    on_disk.close()
    tissues = table.drop_duplicates("tissue_id")[["tissue_id", "patient_id", "time", "group"]]
    tissues = tissues.rename(columns={"time": "BiopsyPhase"}).assign(isPerProtocol=True, Arm="C&I")
    tissues["pCR"] = tissues["group"].map({GROUPS[0]: "pCR", GROUPS[1]: "RD"})
    (tmp_path / "metadata").mkdir()
    names = ("shifts", "points", "barycentres")
    output = SimpleNamespace(
        **{name: tmp_path / f"out/{name}.parquet" for name in names},
        facts=tmp_path / "out/facts.json",
    )
    params = SimpleNamespace(
        settings=SETTINGS, task=TASK, where="x", cohort_folder=tmp_path, device="cpu", seed=0
    )
    rule = SimpleNamespace(
        input=SimpleNamespace(embeddings=[str(folder)]), output=output, params=params, threads=1
    )
    tissues.to_parquet(tmp_path / "metadata/tissues.parquet")
    measure_response.main(rule)
    assert json.loads(output.facts.read_text())["status"] == "done"
    assert len(pd.read_parquet(output.shifts)) == 8 * 3
    assert len(pd.read_parquet(output.points)) == round(0.2 * len(table))
    assert set(pd.read_parquet(output.barycentres)["group"]) == set(GROUPS)
    tissues.drop(columns="pCR").to_parquet(tmp_path / "metadata/tissues.parquet")
    measure_response.main(rule)
    status = json.loads(output.facts.read_text())["status"]
    assert status.startswith("not run: x: expected the clinical column 'pCR'")
    assert list(pd.read_parquet(output.shifts).columns) == measure_response.SHIFT
    index, _ = read_tokens(folder, "cells")
    cells = treated_cells(index, tissues.rename(columns={"BiopsyPhase": "time"}))
    assert draw_cells(cells, 0.1, 0).equals(draw_cells(cells, 0.1, 0))
