"""Signatures carried to a second simulated cohort: their states are found, and order survival."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from demo.simulator.cohort import read_effects
from demo.simulator.tokens import simulate_tokens
from workflow_scripts.biomarkers import transfer_signatures as t
from workflow_scripts.biomarkers.carried_tokens import tokens_of
from workflow_scripts.biomarkers.forests import (
    balanced,
    fit_as_printed,
    judge_unseen_patients,
    scores,
    scores_of_unseen_patients,
    top_share,
)
from workflow_scripts.biomarkers.risk_scores import (
    SIGNS,
    concordances,
    cut_point_p,
    high_against_low,
    levels_of,
)
from workflow_scripts.biomarkers.survival_curves import compare_levels, judge_score
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.tokens import TokenStore

# The second cohort's cell types under the names of the first, so that they look the same there.
SAME_TYPES = {
    "tumor_1": "panCK^{med}",
    "tumor_2": "CA9^{+}Hypoxia",
    "tumor_3": "Vimentin^{+}EMT",
    "tumor_4": "Apoptosis",
    "CD8_T_cell": "CD8^+T",
    "CD4_T_cell": "CD4^+PD1^+T",
    "B_cell": "CD20^+B",
    "Macrophage": "M2 Mac",
    "Stromal": "Fibroblasts",
}
STATES = {
    "RS1": "Apoptotic front",
    "RS2": "Lymphoid aggregate",
    "NRS1": "Hypoxic core",
    "NRS2": "EMT front",
}
SETTINGS = {
    "cohort": "second",
    "survival": "relapse",
    "groups": "risk",
    "phenotype": "immune",
    "label": "cell_type",
    "tumour": ["tumor_*", "panCK*", "*EMT", "*Hypoxia", "Apoptosis"],
    "ratios": {"cd4": ["CD4^*"], "cd8": ["CD8^*"], "b": ["CD20^*"]},
    "trees": 20,
    "depth": 16,
    "markers": "full",
    "covariates": ["grade", "another"],
    "held_out": 0.2,
    "folds": 3,
    "bootstrap": 100,
    "permutations": 99,
    "high": 2,
    "low": -1,
    "group_order": ["low", "medium", "high"],
}
TASKS = {
    "survival": {
        "column": "status",
        "time": "months",
        "unit": "months",
        "where": {"core": ["tumor"]},
    },
    "groups": {"column": "risk"},
    "phenotype": {"column": "immune"},
}
WEIGHTS = {"first": 40, "second": 260}


def effects():
    """Return the table of planted effects, with one name for one cell type."""
    table = read_effects()
    section = table["cohorts"]["meyer2025"]

    def renamed(types):
        return {SAME_TYPES.get(name, name): value for name, value in types.items()}

    section["cell_types"] = renamed(section["cell_types"])
    for niche in section["niches"].values():
        niche["types"] = renamed(niche["types"])
    return table


EFFECTS = effects()


def published(cohort, event="relapse"):
    """Return the tables of tissues and cells as a cohort folder has them."""
    people = cohort.patients.set_index("patient_id")
    tissues = cohort.cells.drop_duplicates("tissue_id")[["tissue_id", "patient_id"]]
    tissues = tissues.join(people, on="patient_id").rename(
        columns={"PID_group_risk": "risk", "spatial_CD8_pheno": "immune"}
    )
    tissues["months"] = 12 * tissues[f"{event}_years"]
    tissues["status"] = tissues[f"{event}_seen"].astype(int)
    return tissues.assign(core="tumor").set_index("tissue_id", drop=False)


def discovery(seed):
    cohort = simulate_tokens(EFFECTS, "wang2023", WEIGHTS["first"], 60, seed)
    before = (cohort.cells["time"] == "Baseline").to_numpy()
    cells = cohort.cells[before].reset_index(drop=True)
    cells["position"] = np.arange(len(cells))
    for name, state in STATES.items():
        cells[name] = cells["niche"] == state
    return cohort.tokens[before], cells


def carried(seed, cut):
    """Return cells, patients and follow-up of the second cohort after the transfer."""
    tokens, cells = discovery(seed)
    second = simulate_tokens(EFFECTS, "meyer2025", WEIGHTS["second"], 50, seed, cut=cut)
    tissues = published(second)
    table = second.cells.assign(position=np.arange(len(second.cells)))
    facts = t.carry(tokens, cells, second.tokens, table, SETTINGS, seed, 1)
    patients = t.rank_patients(table, {name: [0.05, 0.2] for name in SIGNS})
    params = SimpleNamespace(settings=SETTINGS, tasks=TASKS)
    patients, lacks, dropped = t.describe(patients, table, tissues, params)
    assert not lacks and not dropped
    follow = patients[["time", "event"]].astype({"time": float, "event": bool})
    return table, patients, follow, facts


@pytest.fixture(scope="module")
def planted():
    return [carried(seed, None) for seed in (0, 1)]


@pytest.fixture(scope="module")
def nothing():
    return [carried(seed, "outcomes") for seed in (0, 1)]


def test_the_states_are_found_in_the_second_cohort(planted):
    for cells, *_, facts in planted:
        for name, state in STATES.items():
            truth = cells["niche"] == state
            overlap = (truth & cells[name]).sum() / (truth | cells[name]).sum()
            assert overlap > 0.45, name
            unseen = facts[name]["unseen_patients"]
            assert unseen["recall"] > 0.8 and facts[name]["held_out_cells"]["precision"] > 0.85
            # Balanced cells flatter precision where members are rare (T4).
            assert unseen["precision"] < facts[name]["held_out_cells"]["precision"]
            assert unseen["prevalence"] < unseen["precision"]
            low, high = unseen["precision_interval"]
            assert low <= unseen["precision"] <= high


def test_reversed_risk_orders_survival(planted):
    for _, patients, follow, _ in planted:
        levels = levels_of(patients, SETTINGS)
        found = concordances(follow, levels, 200, 0)
        assert found["reversed"][0] > 0.57 and found["as_printed"][0] < 0.43
        assert np.quantile(found["reversed"][1], 0.025) > 0.5
        facts = compare_levels(follow, levels["reversed"])
        assert facts["high_against_low_p"] < 0.01 and facts["trend_p"] < 1e-3
        models, p = judge_score(follow, patients, SETTINGS, 0)
        (fit, _), (adjusted, remarks) = models.values()
        assert fit["hazard_ratio"] < 0.9 and fit["p"] < 1e-3
        # Grade has no part in what is planted: beside it R keeps its own.
        assert adjusted["hazard_ratio"] == pytest.approx(fit["hazard_ratio"], rel=0.1)
        assert remarks == "another is not recorded"
        assert p <= 0.1  # paid for: cut-points leave most patients in the middle


def test_nothing_orders_survival_of_others(nothing):
    for _, patients, follow, _ in nothing:
        levels = levels_of(patients, SETTINGS)
        found = concordances(follow, levels, 200, 0)
        assert abs(found["reversed"][0] - 0.5) < 0.09
        assert compare_levels(follow, levels["reversed"])["three_group_p"] > 1e-3
        _, p = judge_score(follow, patients, SETTINGS, 0)
        assert p > 0.1


def test_choosing_cut_points_is_paid_for(nothing):
    """Of all cut-points some pair looks significant more often than 5 %; the permutation knows."""
    follow, rng = nothing[0][2], np.random.default_rng(0)
    score = nothing[0][1]["score"].to_numpy()
    few = SETTINGS | {"permutations": 39}
    small = []
    for draw in range(25):
        dealt = rng.permutation(score)
        cuts = [(h, low) for h in range(0, 4) for low in range(-3, h)]
        ps = {
            cut: high_against_low(follow, 1 + (dealt > cut[0]).astype(int) - (dealt < cut[1]))[0]
            for cut in cuts
        }
        high, low = min(ps, key=lambda cut: np.nan_to_num(ps[cut], nan=1))
        small.append(ps[(high, low)] < 0.05)
        if draw < 8:
            p = cut_point_p(follow, dealt, few | {"high": high, "low": low}, 39, draw)
            assert p >= ps[(high, low)] - 0.03
    assert np.mean(small) > 0.12


def test_a_balanced_draw_keeps_all_of_the_rarer_kind():
    members = np.array([True] * 3 + [False] * 40)
    chosen = balanced(members, 0)
    assert set(chosen[:3]) == {0, 1, 2} and len(chosen) == 6
    assert members[balanced(~members, 1)].sum() == 3


def test_the_held_out_patients_are_unseen():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(12), 30)
    members = rng.random(360) < 0.3
    # What marks members differs from patient to patient: only seen patients can be told apart.
    tokens = 3 * rng.normal(size=(12, 6))[patients] + 0.05 * rng.normal(size=(360, 6))
    tokens[members] += 3 * rng.normal(size=(12, 6))[patients[members]]
    _, printed = fit_as_printed(tokens, members, SETTINGS, 0)
    unseen = scores_of_unseen_patients(tokens, members, patients, SETTINGS, 0)
    facts = judge_unseen_patients(unseen, members, patients, 50, 0)
    assert printed["precision"] > facts["precision"] + 0.15
    again = scores_of_unseen_patients(tokens, members, patients, SETTINGS, 0)
    np.testing.assert_array_equal(unseen, again)


def test_the_top_share_is_as_large_as_asked():
    found = np.random.default_rng(0).permutation(1000) / 1000
    assert top_share(found, 0.05).sum() == 50 and found[top_share(found, 0.05)].min() == 0.95
    assert not top_share(found, 0).any() and top_share(found, 1).all()


# --- files: what the rule reads and writes ----------------------------------------------------


def store(folder, tokens, cells):
    folder.mkdir(parents=True)
    tokens_on_disk = TokenStore(folder)
    rows = cells[["tissue_id", "cell_id"]].to_dict("records")
    tokens_on_disk.append("cells", tokens, rows)
    tokens_on_disk.close()
    return folder


@pytest.fixture
def rule(tmp_path):
    """Return the files of a small transfer, its parameters and the second cohort's tissues."""
    tokens, cells = discovery(0)
    second = simulate_tokens(EFFECTS, "meyer2025", 30, 30, 0)
    tissues = published(second)
    place = tmp_path / "cohort/metadata"
    place.mkdir(parents=True)
    tissues.reset_index(drop=True).to_parquet(place / "tissues.parquet")
    second.cells.to_parquet(place / "cells.parquet")
    columns = ["tissue_id", "cell_id", "patient_id", "position"]
    cells[columns].to_parquet(tmp_path / "searched.parquet")
    rows = [cells.loc[cells[n], ["tissue_id", "cell_id"]].assign(signature=n) for n in SIGNS]
    pd.concat(rows).to_parquet(tmp_path / "signatures.parquet")
    record = {"signatures": {name: {"cut_points": [0.1, 0.3]} for name in SIGNS}}
    (tmp_path / "signatures.json").write_text(json.dumps(record | {"facts": {}, "status": "done"}))
    files = SimpleNamespace(
        searched=tmp_path / "searched.parquet",
        signatures=tmp_path / "signatures.parquet",
        facts=tmp_path / "signatures.json",
        cells=place / "cells.parquet",
    )
    output = SimpleNamespace(
        cells=tmp_path / "out/cells.parquet",
        patients=tmp_path / "out/patients.parquet",
        facts=tmp_path / "out/facts.json",
    )
    settings = SETTINGS | {"trees": 5, "folds": 2}
    params = SimpleNamespace(
        settings=settings,
        source=store(tmp_path / "tokens/source", tokens, cells),
        target=store(tmp_path / "tokens/target", second.tokens, second.cells),
        tasks=TASKS,
        cohort_folder=tmp_path / "cohort",
        seed=0,
    )
    return SimpleNamespace(input=files, output=output, params=params, threads=1)


def change(rule, **columns):
    path = rule.params.cohort_folder / "metadata/tissues.parquet"
    pd.read_parquet(path).assign(**columns).to_parquet(path)


def test_the_same_inputs_give_the_same_bytes(rule):
    t.main(rule)
    first = [path.read_bytes() for path in vars(rule.output).values()]
    t.main(rule)
    assert first == [path.read_bytes() for path in vars(rule.output).values()]
    facts = json.loads(rule.output.facts.read_text())
    patients = pd.read_parquet(rule.output.patients)
    assert facts["status"] == "done" and len(patients) == facts["patients"] == 30
    assert not list(rule.output.cells.parent.glob(".*"))


def test_patients_never_followed_and_other_cores_are_left_out(rule):
    path = rule.params.cohort_folder / "metadata/tissues.parquet"
    tissues = pd.read_parquet(path)
    tissues.loc[0, "months"], tissues.loc[1, "months"], tissues.loc[2, "core"] = 0, np.nan, "normal"
    tissues.to_parquet(path)
    t.main(rule)
    facts = json.loads(rule.output.facts.read_text())
    assert facts["dropped"] == {"months is 0": 1, "no months": 1} and facts["patients"] == 29
    assert pd.read_parquet(rule.output.patients)["event"].isna().sum() == 2


def test_absent_columns_are_told(rule):
    path = rule.params.cohort_folder / "metadata/tissues.parquet"
    pd.read_parquet(path).drop(columns=["immune", "months"]).to_parquet(path)
    t.main(rule)
    facts = json.loads(rule.output.facts.read_text())
    assert "expected the clinical column 'immune'" in facts["absent"]["phenotype"]
    assert facts["absent"]["survival"] == (
        "second: tasks.relapse: expected the clinical column 'months', but the tissues have none"
    )


def test_shared_markers_alone_carry_signatures_too(rule):
    """Tokens of the shared markers come in their own folder, in whatever order (D11)."""
    t.main(rule)
    scores = pd.read_parquet(rule.output.cells)
    facts = json.loads(rule.output.facts.read_text())
    assert facts["markers"] == "full panel of each cohort (D11)"
    tokens, cells = discovery(0)
    rule.params.source = store(
        rule.params.source.parents[1] / "shared/source", tokens[::-1], cells[::-1]
    )
    rule.params.settings = rule.params.settings | {"markers": "shared"}
    record = rule.params.source.parent / "facts.json"
    record.write_text(json.dumps({"markers": ["P1", "P2"], "shared": 3}))
    t.main(rule)
    facts = json.loads(rule.output.facts.read_text())
    assert facts["markers"] == "2 markers that both cohorts have (D11)"
    pd.testing.assert_frame_equal(pd.read_parquet(rule.output.cells), scores)
    record.write_text(json.dumps({"markers": [], "shared": 3}))
    t.main(rule)
    assert json.loads(rule.output.facts.read_text())["status"] == (
        "not run: meyer_transfer.markers: the model can read none of the 3 markers that both "
        "cohorts have, expected one at least; set it to full"
    )


def test_cells_of_the_search_without_a_token_are_told(rule):
    _, cells = discovery(0)
    folder = store(rule.params.source.parent / "part", np.ones((9, 2), np.float32), cells[:9])
    lost = cells["tissue_id"].iloc[9]
    with pytest.raises(InputError) as error:
        tokens_of(folder, cells)
    assert str(error.value) == (
        f"{folder}: {len(cells) - 9} of {len(cells)} cells have no token, the first in tissue "
        f"{lost}; embed the cohort again"
    )


def test_negative_times_are_told(rule):
    change(rule, months=-1.0)
    t.main(rule)
    status = json.loads(rule.output.facts.read_text())["status"]
    assert status.startswith("not run: second: tasks.relapse: tissue ")
    assert status.endswith("has months -1 below 0; a follow-up starts at 0: correct the table")


def test_a_search_that_was_not_run_passes_its_reason_on(rule):
    rule.input.facts.write_text(
        json.dumps({"signatures": {}, "facts": {}, "status": "not run: three clusters qualify"})
    )
    t.main(rule)
    facts = json.loads(rule.output.facts.read_text())
    assert facts["status"] == "not run: three clusters qualify"
    assert len(pd.read_parquet(rule.output.patients)) == 0


def test_a_signature_without_cells_is_refused(rule):
    rows = pd.read_parquet(rule.input.signatures)
    rows[rows["signature"] != "NRS2"].to_parquet(rule.input.signatures)
    with pytest.raises(InputError, match="0 of 2400 searched cells are NRS2; expected some"):
        t.read_members(rule.input)


def test_scores_come_from_blocks_of_any_size(monkeypatch, planted):
    tokens, cells = discovery(0)
    forest, _ = fit_as_printed(tokens, cells["RS1"].to_numpy(), SETTINGS, 0)
    whole = scores(forest, tokens)
    monkeypatch.setattr("workflow_scripts.biomarkers.forests.ROWS", 7)
    np.testing.assert_array_equal(scores(forest, tokens[:30]), whole[:30])
