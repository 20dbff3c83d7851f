"""What effects.yaml promises is measurable in hundreds of patients, without any image."""

import numpy as np
import pytest
from scipy.optimize import minimize

from demo.simulator.cohort import plan_tissues, read_effects
from demo.simulator.patients import (
    at_visit,
    draw_patients,
    draw_survival,
    expected_niche_shares,
    follow_first,
    quota,
)

COHORTS = read_effects()["cohorts"]


def patients_of(name, count=600, seed=3, effects=True):
    section = COHORTS[name] if effects else COHORTS[name] | {"effects": []}
    return section, draw_patients(np.random.default_rng(seed), section, count)


@pytest.mark.parametrize("name", COHORTS)
def test_shares_are_shares(name):
    section, patients = patients_of(name, 20)
    for patient in patients:
        assert sum(patient.niche_shares.values()) == pytest.approx(1)
        assert patient.niche_shares.keys() == section["niches"].keys()
        for shares in patient.type_shares.values():
            assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) > 0


def niche_difference(patients, row):
    """Return by how much the log-odds of the row's niche differ between its cause and the rest."""
    odds = {True: [], False: []}
    for patient in patients:
        share = patient.niche_shares[row["target"]]
        hit = all(patient.attributes[name] == value for name, value in row["cause"].items())
        odds[hit].append(np.log(share / (1 - share)))
    return np.mean(odds[True]) - np.mean(odds[False])


def sampled(section, patients, row, seed=4):
    """Return the patients as they were when the row acts: at its visit, where it names one."""
    visits = section.get("visits", {"variable": None})
    if visits["variable"] not in row["cause"]:
        return patients
    rng, time = np.random.default_rng(seed), row["cause"][visits["variable"]]
    return [at_visit(rng, section, patient, time) for patient in patients]


@pytest.mark.parametrize("name", COHORTS)
def test_niche_effects_are_found_and_vanish_without_their_row(name):
    rows = [row for row in COHORTS[name]["effects"] if row["kind"] == "niche"]
    assert rows
    for effects in (True, False):
        section, patients = patients_of(name, effects=effects)
        for row in rows:
            found = niche_difference(sampled(section, patients, row), row)
            assert found * np.sign(row["size"]) > 0.25 if effects else abs(found) < 0.16, row


@pytest.mark.parametrize("name", COHORTS)
def test_cell_type_effects_multiply_shares(name):
    section, patients = patients_of(name, 60)
    for row in section["effects"]:
        if row["kind"] != "cell_type":
            continue
        niche = max(section["niches"], key=lambda n, t=row["target"]: _share(section, n, t))
        shares = section["niches"][niche]["types"]
        other = [t for t in shares if t not in {r["target"] for r in section["effects"]}][0]
        usual = shares[row["target"]] / shares[other]
        for patient in patients:
            if row["cause"].items() <= patient.attributes.items():
                drawn = patient.type_shares[niche]
                assert drawn[row["target"]] / drawn[other] == pytest.approx(usual * row["size"])


def _share(section, niche, cell_type):
    return section["niches"][niche]["types"].get(cell_type, 0)


def fitted_hazards(name, event, section, patients, rng):
    """Return the maximum likelihood log hazard ratios of the rows, per 0.1 of the niche."""
    rows = [row for row in COHORTS[name]["effects"] if row["kind"] == "hazard"]
    rows = [row for row in rows if row["target"] == event]
    years, died = draw_survival(rng, section, patients)[event]
    x = np.array([[10 * p.niche_shares[row["cause"]] for row in rows] for p in patients])
    x -= x.mean(0)

    def loss(b):
        return (np.exp(b[0] + x @ b[1:]) * years).sum() - (died * (b[0] + x @ b[1:])).sum()

    return {row["id"]: (b, row["size"]) for row, b in zip(rows, _solve(loss, x), strict=True)}


def _solve(loss, x):
    return minimize(loss, np.r_[-3.0, np.zeros(x.shape[1])]).x[1:]


EVENTS = [
    (name, event)
    for name in COHORTS
    for event in COHORTS[name].get("survival", {}).get("per_year", [])
]


@pytest.mark.parametrize(("name", "event"), EVENTS)
def test_hazards_are_found_and_vanish_without_their_rows(name, event):
    for effects in (True, False):
        section, patients = patients_of(name, 1500, effects=effects)
        fitted = fitted_hazards(name, event, section, patients, np.random.default_rng(1))
        assert fitted
        for found, planted in fitted.values():
            assert found == pytest.approx(planted if effects else 0, abs=0.25)


def test_relapse_comes_before_death():
    section, patients = patients_of("cords2024", 400)
    course = draw_survival(np.random.default_rng(0), section, patients)
    (years, died), (until, relapsed) = course["death"], course["relapse"]
    assert (until <= years).all() and (until[~relapsed] == years[~relapsed]).all()
    assert 0.2 < relapsed.mean() < 0.8 and 0.2 < died.mean() < 0.8


# --- response and visits -------------------------------------------------------------------


def fitted_response(section, patients):
    """Return the log-odds of response per 0.1 of the niches that the table names: {row id: b}."""
    rows = [row for row in COHORTS["wang2023"]["effects"] if row["kind"] == "response"]
    x = np.array([[10 * p.niche_shares[row["cause"]] for row in rows] for p in patients])
    responds = np.array([p.attributes["pCR"] == "pCR" for p in patients])
    x -= x.mean(0)

    def loss(b):
        return np.logaddexp(0, np.where(responds, -1, 1) * (b[0] + x @ b[1:])).sum()

    found = minimize(loss, np.zeros(1 + len(rows))).x[1:]
    return {row["id"]: (b, row["size"]) for row, b in zip(rows, found, strict=True)}


@pytest.mark.parametrize(("arm", "effects"), [("C&I", True), ("C", True), ("C&I", False)])
def test_response_follows_the_niches_in_one_arm(arm, effects):
    section, patients = patients_of("wang2023", 3000, effects=effects)
    patients = [patient for patient in patients if patient.attributes["Arm"] == arm]
    for found, planted in fitted_response(section, patients).values():
        assert found == pytest.approx(planted if effects and arm == "C&I" else 0, abs=0.35)
    share = np.mean([patient.attributes["pCR"] == "pCR" for patient in patients])
    assert share == pytest.approx(section["response"]["share"], abs=0.01)


def test_a_first_visit_is_the_patient_and_later_ones_resemble_it():
    section, patients = patients_of("wang2023", 200)
    rng, times = np.random.default_rng(0), section["visits"]["values"]
    first = [at_visit(rng, section, patient, times[0]) for patient in patients]
    assert [p.niche_shares for p in first] == [p.niche_shares for p in patients]
    later = [at_visit(rng, section, patient, times[1]) for patient in patients]
    shares = [[p.niche_shares["Stroma"] for p in group] for group in (first, later)]
    assert np.corrcoef(shares)[0, 1] > 0.5
    assert {p.attributes["BiopsyPhase"] for p in later} == {times[1]}


def test_patients_are_sampled_at_every_time_before_others_are_begun():
    section = COHORTS["wang2023"]
    first, second, third = section["visits"]["values"]
    assert plan_tissues(section, 5, 7) == [
        *[(0, first), (1, first)],
        *[(0, second), (1, second)],
        *[(0, third), (1, third)],
        (2, first),
    ]
    assert plan_tissues(section, 9, 10)[6:] == [(owner, first) for owner in (2, 3, 4, 5)]
    assert plan_tissues(section, 1, 6) == [(0, first), (0, second), (0, third)]
    assert plan_tissues(COHORTS["damond2019"], 2, 3) == [(0, None), (1, None), (0, None)]


def test_the_first_sampled_are_treated_and_differ_in_response():
    section, patients = patients_of("wang2023", 40)
    order = follow_first(section, patients)
    assert sorted(map(id, order)) == sorted(map(id, patients))
    known = [patient.attributes for patient in order]
    assert all(k["Arm"] == "C&I" and k["isPerProtocol"] == "TRUE" for k in known[:8])
    assert {k["pCR"] for k in known[:2]} == {k["pCR"] for k in known[2:4]} == {"pCR", "RD"}


def test_derived_variables_follow_the_first_matching_row():
    _, patients = patients_of("danenberg2022", 200)
    for patient in patients:
        known = patient.attributes
        if known["ERStatus"] == "pos":
            expected = "Luminal B" if known["Grade"] == 3 else "Luminal A"
        else:
            expected = "HER2" if known["ERBB2_pos"] == "TRUE" else "Basal"
        assert known["PAM50"] == expected


def test_quotas_are_exact():
    rng = np.random.default_rng(0)
    assert sorted(quota(rng, {"a": 0.6, "b": 0.4}, 5)) == list("aaabb")
    assert quota(rng, {"a": 0.6, "b": 0.4}, 0) == []


def test_expected_shares_without_effects_are_the_table():
    section = COHORTS["damond2019"]
    shares = expected_niche_shares(section, {"stage": "Non-diabetic"})
    assert shares == pytest.approx({n: spec["share"] for n, spec in section["niches"].items()})
