"""Figures about transferred signatures, drawn from tables whose truth is known."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from lifelines.statistics import logrank_test

from workflow_scripts.biomarkers import fig5i, fig5k, survival_curves
from workflow_scripts.biomarkers.risk_scores import (
    concordances,
    cut_point_p,
    log_ratio,
    overall_score,
    pairs,
    risk_levels,
    tertiles,
    two_sided,
)
from workflow_scripts.common.numbers import read_numbers
from workflow_scripts.common.survival import concordance
from workflow_scripts.common.targets import load_targets

TARGETS = {target["id"]: target for target in load_targets()}
SETTINGS = {
    "group_order": ["low", "medium", "high"],
    "ratios": {"cd4": [], "cd8": [], "b": []},
    "high": 2,
    "low": -1,
    "orientation": "as_printed",
    "covariates": ["age", "pT"],
    "bootstrap": 60,
    "permutations": 19,
}
PHENOTYPES = ["inflamed", "excluded", "cold"]
RANKS = ["RS1", "RS2", "NRS1", "NRS2"]


def follow_up(n=80, seed=0, ties=True):
    rng = np.random.default_rng(seed)
    times = rng.exponential(60, n)
    times = np.ceil(times / 10) * 10 if ties else times
    return pd.DataFrame({"time": times, "event": rng.random(n) < 0.5})


def people(n=120, effect=1.0, seed=0):
    """Return patients whose risk falls with R, and their cells."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(n)]})
    liking = rng.normal(size=n)
    for name in RANKS:
        sign = 1 if name.startswith("R") else -1
        rank = np.clip(np.round(1.5 + sign * liking + 0.7 * rng.normal(size=n)), 0, 3)
        table[f"rank_{name}"] = rank.astype(int)
        table[f"share_{name}"] = np.where(rank > 0, rank / 10 + 0.02 * rng.random(n), 0)
    ranks = table[[f"rank_{name}" for name in RANKS]].set_axis(RANKS, axis=1)
    table["score"] = overall_score(ranks)
    for variant in ("prevalence", "frozen"):
        table[f"score_{variant}"] = table["score"] + rng.integers(-1, 2, n)
    time, end = rng.exponential(60 * np.exp(effect * liking)), rng.uniform(10, 120, n)
    table["time"], table["event"] = np.minimum(time, end), time <= end
    table["group"] = np.array(["high", "medium", "low"])[tertiles(liking + 2 * rng.normal(size=n))]
    table["phenotype"] = np.array(PHENOTYPES[::-1])[tertiles(liking + rng.normal(size=n))]
    for ratio in SETTINGS["ratios"]:
        table[f"ratio_{ratio}"] = -liking + 2 * rng.normal(size=n)
    owner = np.repeat(np.arange(n), 50)
    cells = pd.DataFrame({"tissue_id": "t", "cell_id": 1, "patient_id": table["patient_id"][owner]})
    for name in RANKS:
        cells[name] = rng.random(len(cells)) < table[f"share_{name}"].to_numpy()[owner]
    return table, cells


FOREST = {
    "held_out_cells": {"precision": 0.9, "recall": 0.8},
    "unseen_patients": {
        "precision": 0.2,
        "recall": 0.7,
        "prevalence": 0.02,
        "precision_interval": [0.1, 0.3],
        "recall_interval": [0.6, 0.8],
    },
}


@pytest.fixture
def job(tmp_path):
    """Return a function that makes the job of a target from tables and facts."""

    def make(target, patients, cells=None, facts=None, systems=None, **settings):
        (tmp_path / "all14").mkdir(exist_ok=True)
        metrics = tmp_path / "all14/metrics.json"
        metrics.write_text(json.dumps({"instance": "all14", "weights_sha256": "abc"}))
        known = {"status": "done", "absent": {}, "dropped": {"no DFS_months": 2}, "patients": 122}
        known |= {"markers": "full panel of each cohort (D11)"}
        known |= {"forests": dict.fromkeys(RANKS, FOREST)} | (facts or {})
        (tmp_path / "facts.json").write_text(json.dumps(known))
        patients.to_parquet(tmp_path / "patients.parquet")
        if cells is not None:
            cells.to_parquet(tmp_path / "cells.parquet")
        files = {kind: tmp_path / f"{kind}.parquet" for kind in ("patients", "cells")}
        return SimpleNamespace(
            input=SimpleNamespace(**files, facts=tmp_path / "facts.json", metrics=metrics),
            output=SimpleNamespace(numbers=tmp_path / target / "numbers.json"),
            params=SimpleNamespace(
                target=TARGETS[target],
                settings=SETTINGS | settings,
                systems=systems,
                phenotypes=PHENOTYPES,
                bootstrap=60,
                unit="months",
                reason="",
                seed=0,
                simulated=True,
            ),
        )

    return make


def numbers_of(job):
    return read_numbers(job.output.numbers)


# --- numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [True, False])
def test_concordance_is_scikit_survivals_also_of_resamples(ties):
    follow, rng = follow_up(ties=ties), np.random.default_rng(0)
    risks = {"levels": rng.integers(0, 3, 80), "score": rng.normal(size=80)}
    found = concordances(follow, risks, 5, 3)
    for system, risk in risks.items():
        assert found[system][0] == pytest.approx(concordance(follow, risk), abs=1e-12)
        for value, weights in zip(
            found[system][1],
            np.random.default_rng(3).multinomial(80, np.full(80, 1 / 80), 5),
            strict=True,
        ):
            again = np.repeat(np.arange(80), weights)
            theirs = concordance(follow.iloc[again].reset_index(drop=True), risk[again])
            assert value == pytest.approx(theirs, abs=1e-9)


def test_a_patient_without_a_risk_is_in_no_pair():
    follow = pd.DataFrame({"time": [1.0, 2, 3], "event": [True, True, True]})
    comparable, concordant = pairs(follow, [2, np.nan, 1])
    assert comparable.sum() == 1 and concordant[0, 2] == 1
    assert np.isfinite(concordances(follow, {"a": [2, np.nan, 1]}, 0, 0)["a"][0])


def test_a_lead_is_over_the_patients_whom_both_systems_know():
    follow, rng = follow_up(), np.random.default_rng(1)
    ours = rng.normal(size=80)
    theirs = np.where(rng.random(80) < 0.5, np.nan, ours)  # the same risk, known of half
    table = fig5k.tabulate(follow, {"ours": ours, "theirs": theirs}, "ours", 20, 0)
    assert table.loc["theirs", "lead"] == 0 == table.loc["theirs", "lead_high"]
    assert table.loc["theirs", "concordance"] != table.loc["ours", "concordance"]


def test_scores_at_a_bound_are_medium_and_orientations_mirror_each_other():
    score = np.array([-3, -1, 0, 2, 3])
    assert risk_levels(score, SETTINGS, "as_printed").tolist() == [0, 1, 1, 1, 2]
    assert risk_levels(score, SETTINGS, "reversed").tolist() == [2, 1, 1, 1, 0]
    ranks = pd.DataFrame({"RS1": [3], "RS2": [1], "NRS1": [2], "NRS2": [0]})
    assert overall_score(ranks).tolist() == [2]


def test_tertiles_and_ratios_by_hand():
    assert tertiles(np.arange(6)).tolist() == [0, 0, 1, 1, 2, 2]
    cells = pd.DataFrame(
        {"patient_id": list("aaab"), "kind": ["tumor_1", "tumor_2", "CD4_T_cell", None]}
    )
    ratio = log_ratio(cells, ["a", "b"], "kind", ["tumor_*"], ["CD4_T_cell"])
    np.testing.assert_allclose(ratio, [np.log(3 / 2), 0])


def test_the_fast_log_rank_is_lifelines():
    follow = follow_up()
    codes = np.random.default_rng(1).integers(0, 2, 80)
    times = np.unique(follow["time"][follow["event"]])
    counts = [
        [
            ((follow["time"] >= t) & (codes == side)).sum()
            if what == "risk"
            else ((follow["time"] == t) & follow["event"] & (codes == side)).sum()
            for t in times
        ]
        for what in ("risk", "events")
        for side in (1, 0)
    ]
    ours = two_sided(*(np.array(count, float)[:, None] for count in counts))[0]
    sides = [follow[codes == side] for side in (1, 0)]
    theirs = logrank_test(*(s["time"] for s in sides), *(s["event"] for s in sides))
    assert ours == pytest.approx(theirs.test_statistic, abs=1e-9)


def test_a_side_without_patients_has_no_cut_point_p():
    assert np.isnan(cut_point_p(follow_up(), np.zeros(80), SETTINGS, 9, 0))


# --- figures --------------------------------------------------------------------------------


def test_fig5j_has_both_orientations_and_the_careful_tests(job):
    patients, _ = people()
    printed = job("fig5j", patients, systems=["ours", "ratio_cd4"])
    survival_curves.main(printed)
    record = numbers_of(printed)
    numbers = record["numbers"]
    assert record["picture"] and set(TARGETS["fig5j"]["claims"]) <= set(numbers)
    high = patients["score"] > 2
    assert numbers["C102"]["value"] == high.sum()
    assert numbers["C103"]["value"] == patients["event"][high].sum()
    assert f"{(patients['score'] < -1).sum()} when reversed" in numbers["C102"]["reason"]
    assert "2 without follow-up: no DFS_months" in numbers["C102"]["reason"]
    assert numbers["C104"]["careful"]["value"] >= 1 / 20
    assert "trend p" in numbers["C104"]["reason"]
    ratio = numbers["hazard_ratio_of_R"]
    assert ratio["high"] < 1 and ratio["low"] < ratio["value"] < ratio["high"]
    lacks = "not run: no covariate is recorded; age is not recorded; pT is not recorded"
    assert numbers["adjusted_hazard_ratio_of_R"]["status"] == lacks
    age = np.random.default_rng(0).normal(50, 9, len(patients))
    survival_curves.main(job("fig5j", patients.assign(age=age), systems=["ours", "ratio_cd4"]))
    adjusted = numbers_of(printed)["numbers"]["adjusted_hazard_ratio_of_R"]
    assert adjusted["high"] < 1 and adjusted["value"] != ratio["value"]
    assert "proportional hazards p" in adjusted["reason"] and "pT is not" in adjusted["reason"]
    backwards = job("fig5j", patients, systems=["ours", "ratio_cd4"], orientation="reversed")
    survival_curves.main(backwards)
    again = numbers_of(backwards)["numbers"]
    assert again["C100"]["value"] == numbers["C102"]["value"]
    assert again["C104"]["value"] == pytest.approx(numbers["C104"]["value"])
    # Risk falls with R here: as printed, those called high risk live longer, whatever the p.
    assert numbers["C104"]["contrary"] and not again["C104"]["contrary"]


def test_fig5k_pairs_our_lead_with_each_rival(job):
    patients, _ = people(effect=1.5)
    wanted = job("fig5k", patients, orientation="reversed")
    fig5k.main(wanted)
    numbers = numbers_of(wanted)["numbers"]
    follow = patients[["time", "event"]]
    ours = risk_levels(patients["score"].to_numpy(), SETTINGS, "reversed")
    assert numbers["C105"]["value"] == pytest.approx(concordance(follow, ours))
    total = numbers["concordance_as_printed"]["value"] + numbers["C105"]["value"]
    assert total == pytest.approx(1)
    assert numbers["C155"]["value"] == 1 and numbers["C155"]["careful"]["value"] > -0.1
    for claim in ("C106", "C107", "C108", "C109"):
        assert "our lead" in numbers[claim]["reason"] and numbers[claim]["low"] is not None
    flat = job("fig5k", patients)
    fig5k.main(flat)
    assert numbers_of(flat)["numbers"]["C155"]["value"] == 0  # as printed, R is risk


def test_fig5k_without_published_groups(job):
    patients, _ = people(60)
    reason = "second: tasks.risk: the cohort's file has no such task"
    wanted = job("fig5k", patients.assign(group=None), facts={"absent": {"groups": reason}})
    fig5k.main(wanted)
    numbers = numbers_of(wanted)["numbers"]
    assert numbers["C106"]["status"] == f"not run: {reason}"
    assert "published groups" in numbers["C155"]["status"] and numbers["C107"]["value"]


def test_figs23_draws_the_other_systems(job):
    patients, _ = people(60)
    patients.loc[:4, "group"] = None
    wanted = job("figS23", patients, systems=["meyer", "ratio_cd8", "ratio_b"])
    survival_curves.main(wanted)
    numbers = numbers_of(wanted)["numbers"]
    sizes = [numbers[f"patients_{risk}_meyer"]["value"] for risk in ("low", "medium", "high")]
    assert sum(sizes) == 55 and "patients_low_as_printed" not in numbers


def test_fig5i_states_the_side_of_every_signature(job):
    patients, cells = people()
    wanted = job("fig5i", patients, cells)
    fig5i.main(wanted)
    numbers = numbers_of(wanted)["numbers"]
    shares = [numbers[f"share_RS1_{p}"]["value"] for p in PHENOTYPES]
    assert sum(shares) == pytest.approx(1) and shares[0] == max(shares)
    assert numbers["C154"]["careful"]["value"] < 0.05
    assert numbers["precision_RS1"]["careful"]["value"] == 0.2
    shuffled = patients.assign(
        phenotype=np.random.default_rng(1).permutation(patients["phenotype"].to_numpy())
    )
    nothing = job("fig5i", shuffled, cells)
    fig5i.main(nothing)
    assert numbers_of(nothing)["numbers"]["C154"]["careful"]["value"] > 0.05


def test_a_signature_without_cells_leaves_the_statement_open(job):
    patients, cells = people(40)
    wanted = job("fig5i", patients, cells.assign(NRS2=False))
    fig5i.main(wanted)
    numbers = numbers_of(wanted)["numbers"]
    assert numbers["C154"]["status"].startswith("not run: a signature has no cell")
    assert numbers["share_NRS2_cold"]["status"] == "not run: no cell is called NRS2"


@pytest.mark.parametrize("target", ["fig5i", "fig5j", "fig5k", "figS23"])
def test_a_reason_passes_through(target, job):
    patients, _ = people(10)
    wanted = job(target, patients, systems=["ours"], facts={"status": "not run: no clusters"})
    script = {"fig5i": fig5i, "fig5k": fig5k}.get(target, survival_curves)
    script.main(wanted)
    record = numbers_of(wanted)
    assert record["status"] == "not run: no clusters" and not record["picture"]
    assert all(e["status"] == "not run: no clusters" for e in record["numbers"].values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"event": False}, "none of 30 patients has the event"),
        ({"event": None}, "0 patients with follow-up, at least 2 are needed"),
        ({"time": 5.0}, "all 30 patients have the same follow-up time"),
    ],
)
def test_follow_up_that_tells_nothing(change, words, job):
    patients, _ = people(30)
    for script, target in ((survival_curves, "fig5j"), (fig5k, "fig5k")):
        wanted = job(target, patients.assign(**change), systems=["ours"])
        script.main(wanted)
        assert numbers_of(wanted)["status"] == f"not run: {words}"


def test_an_absent_survival_column_is_told(job):
    patients, _ = people(30)
    reason = "second: tasks.relapse: expected the clinical column 'months'"
    wanted = job("fig5k", patients, facts={"absent": {"survival": reason}})
    fig5k.main(wanted)
    assert numbers_of(wanted)["status"] == f"not run: {reason}"
