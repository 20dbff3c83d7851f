"""What effects.yaml promises is measurable in the images and in the patients."""

import re

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from demo.simulator.cells import centroids, mean_counts
from demo.simulator.cohort import plan_tissues, read_effects
from demo.simulator.patients import (
    at_visit,
    draw_patients,
    draw_survival,
    expected_niche_shares,
    follow_first,
    quota,
)
from workflow_scripts.common.cohort import load_cohort

EFFECTS = read_effects()
COHORTS = EFFECTS["cohorts"]


@pytest.mark.parametrize("name", COHORTS)
def test_the_table_refers_to_itself(name):
    section = COHORTS[name]
    markers = [entry["marker"] for entry in section["panel"]]
    assert len(set(markers)) == len(markers)
    for spec in section["cell_types"].values():
        assert set(spec["markers"]) <= set(markers)
    for spec in section["niches"].values():
        assert set(spec["types"]) <= set(section["cell_types"])
        assert set(spec["matrix"]) <= set(markers)
    assert sum(spec["share"] for spec in section["niches"].values()) == pytest.approx(1)
    known = {name: list(values) for name, values in section["attributes"].items()}
    targets = {"niche": section["niches"], "cell_type": section["cell_types"]}
    targets["hazard"] = section.get("survival", {}).get("per_year", [])
    if "response" in section:
        response, visits = section["response"], section["visits"]
        known |= {v["variable"]: v["values"] for v in (response, visits)}
        targets["response"] = response["values"][:1]
        assert response["within"] in known
        assert all(value in known[name] for name, value in visits["first"].items())
    for row in section["effects"]:
        assert row["target"] in targets[row["kind"]]
        conditions = row.get("when", {})
        if row["kind"] in ("niche", "cell_type"):
            conditions = row["cause"]
        else:
            assert row["cause"] in section["niches"]
        for variable, value in conditions.items():
            assert value in known[variable]
    assert len({row["id"] for row in section["effects"]}) == len(section["effects"])


def test_cohort_files_describe_the_simulated_panels():
    shared = []
    for name, section in COHORTS.items():
        cohort = load_cohort(f"demo/cohorts/sim_{name}.yaml")
        assert cohort.simulated
        stated = [(entry["channel"], entry["marker"]) for entry in cohort.panel]
        assert stated == [(entry["channel"], entry["marker"]) for entry in section["panel"]]
        proteins = [entry["uniprot"] for entry in cohort.panel if "uniprot" in entry]
        assert 11 <= len(proteins) <= 12
        shared.append(set(proteins))
    # Histone H3, SMA, CD3 and CD68 are in every panel; no two panels are the same.
    assert set.intersection(*shared) == {"P68431", "P62736", "P07766", "P34810"}
    assert len(set(map(frozenset, shared))) == len(shared)


def per_cell(archive):
    """Return mean counts [n, C] and types of all cells that no clump of antibody hit."""
    means, types = [], []
    for tissue in archive.truth.tissues:
        keep = ~tissue.aggregate
        means.append(mean_counts(tissue.cell_mask, tissue.image)[keep])
        types += np.array(tissue.types)[keep].tolist()
    return np.concatenate(means), np.array(types)


def test_cell_types_carry_their_markers(archive):
    means, types = per_cell(archive)
    checked = 0
    for index, entry in enumerate(archive.section["panel"]):
        specs = archive.section["cell_types"]
        peak = {name: spec["markers"].get(entry["marker"], 0) for name, spec in specs.items()}
        bearing = np.isin(types, [name for name in peak if peak[name] >= 10])
        lacking = np.isin(types, [name for name in peak if peak[name] == 0])
        if bearing.any() and lacking.any() and entry["where"] not in ("nucleus", "noise"):
            assert means[bearing, index].mean() > 5 * means[lacking, index].mean(), entry
            checked += 1
    assert checked >= 8


def test_cd3_tells_t_cells_from_all_others(archive):
    means, types = per_cell(archive)
    index = [e["marker"] in ("CD3", "CD3e") for e in archive.section["panel"]].index(True)
    marker = archive.section["panel"][index]["marker"]
    named = [n for n, s in archive.section["cell_types"].items() if s["markers"].get(marker)]
    assert all(re.search("^CD[48]|Tc|T cell", name) for name in named)
    t_cells = np.isin(types, named)
    score, rest = means[t_cells, index], means[~t_cells, index]
    assert (score[:, None] > rest[None]).mean() > 0.98  # the AUROC


def test_markers_lie_in_their_part_of_the_cell(danenberg):
    positive = "CK8-18^{+} ER^{hi}"
    tissue = max(danenberg.truth.tissues, key=lambda tissue: tissue.types.count(positive))
    index = {entry["marker"]: i for i, entry in enumerate(danenberg.section["panel"])}
    nucleus = tissue.nucleus_mask > 0
    around = (tissue.cell_mask > 0) & ~nucleus

    def ratio(marker, name):
        cells = np.isin(tissue.cell_mask, 1 + np.flatnonzero(np.array(tissue.types) == name))
        image = tissue.image[index[marker]]
        return image[cells & nucleus].mean() / image[cells & around].mean()

    assert ratio("ER", positive) > 4
    assert ratio("DNA1", positive) > 4
    assert ratio("panCK", positive) < 0.6
    assert ratio("CD3", "CD4^{+} T cells") < 0.7


@pytest.mark.parametrize(
    ("name", "marker"), [("damond2019", "PD-1"), ("wang2023", "Carboplatin"), ("hoch2022", "DapB")]
)
def test_noise_depends_on_nothing(name, marker, archives):
    archive = archives(name)
    markers = [entry["marker"] for entry in archive.section["panel"]]
    noise = markers.index(marker)
    assert archive.section["panel"][noise]["where"] == "noise"
    for tissue in archive.truth.tissues:
        # Hot pixels are left out: one alone moves a correlation.
        pixels = np.minimum(tissue.image, 40).reshape(len(markers), -1).astype(float)
        r = np.corrcoef(pixels)[noise]
        assert np.abs(np.delete(r, noise)).max() < 0.02
        inside = tissue.cell_mask > 0
        image = np.minimum(tissue.image[noise], 40)
        assert image[inside].mean() == pytest.approx(image[~inside].mean(), rel=0.03)


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("danenberg2022", ("HER2 (3B5)", "HER2 (D8F12)")),
        ("wang2023", ("PD-L1 (SP142)", "PD-L1 (73-10)")),
    ],
)
def test_two_antibodies_against_one_protein_agree(name, pair, archives):
    archive = archives(name)
    means, _ = per_cell(archive)
    markers = [entry["marker"] for entry in archive.section["panel"]]
    first, second = (markers.index(marker) for marker in pair)
    assert np.corrcoef(means[:, first], means[:, second])[0, 1] > 0.9


def test_niches_have_the_areas_of_the_patient(archive):
    truth = archive.truth
    for tissue, sample in zip(truth.tissues, truth.samples, strict=True):
        area = np.bincount(tissue.niche_map[tissue.niche_map >= 0], minlength=len(tissue.niches))
        expected = [sample.niche_shares[name] for name in tissue.niches]
        np.testing.assert_allclose(area / area.sum(), expected, atol=0.02)
        assert 0.8 < (tissue.niche_map >= 0).mean() < 0.95


def test_cells_of_a_type_lie_together(archive):
    # Tissue, not confetti: the nearest cell is of the same type far oftener than by chance.
    same, chance = [], []
    for tissue in archive.truth.tissues:
        points = np.stack(centroids(tissue.cell_mask), axis=1)
        nearest = cKDTree(points).query(points, k=2)[1][:, 1]
        types = np.array(tissue.types)
        same.append((types == types[nearest]).mean())
        chance.append(((np.unique(types, return_counts=True)[1] / len(types)) ** 2).sum())
    assert (np.array(same) > np.array(chance)).all()
    assert (np.mean(same) - np.mean(chance)) / (1 - np.mean(chance)) > 0.2


def test_cells_keep_a_distance_and_fill_the_tissue(archive):
    for tissue in archive.truth.tissues:
        points = np.stack(centroids(tissue.cell_mask), axis=1)
        distance = cKDTree(points).query(points, k=2)[0][:, 1]
        assert np.quantile(distance, 0.01) > 4
        assert 0.4 < (tissue.cell_mask > 0).mean() < 0.8
        assert len(tissue.types) <= 250


def test_a_hidden_patch_can_be_told_from_the_patches_around_it(archive):
    for index, entry in enumerate(archive.section["panel"]):
        here, around = [], []
        for tissue in archive.truth.tissues:
            height, width = (side // 8 * 8 for side in tissue.image.shape[1:])
            image = np.log1p(np.minimum(tissue.image[index, :height, :width], 40.0))
            patch = image.reshape(height // 8, 8, width // 8, 8).mean((1, 3))
            here.append(patch[1:-1, 1:-1].ravel())
            sides = patch[:-2, 1:-1] + patch[2:, 1:-1] + patch[1:-1, :-2] + patch[1:-1, 2:]
            around.append(sides.ravel())
        r = np.corrcoef(np.concatenate(here), np.concatenate(around))[0, 1]
        if entry["where"] == "noise":
            # Each pair of patches counts twice, so chance has a variance of 2 / n.
            assert abs(r) < 4 * np.sqrt(2 / sum(map(len, here)))
        else:
            assert r > 0.3, entry


# --- patients: hundreds, without images ----------------------------------------------------


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


def test_effects_reach_the_images(danenberg, damond):
    shares = {"pos": [], "neg": []}
    for tissue, owner in zip(danenberg.truth.tissues, danenberg.truth.owners, strict=True):
        category = [danenberg.section["cell_types"][t]["category"] for t in tissue.types]
        positive = tissue.types.count("CK8-18^{+} ER^{hi}") / category.count("epithelial")
        shares[danenberg.truth.patients[owner].attributes["ERStatus"]].append(positive)
    assert min(shares["pos"]) > 0.3 > 0.15 > max(shares["neg"])

    beta = {}
    for tissue, owner in zip(damond.truth.tissues, damond.truth.owners, strict=True):
        stage = damond.truth.patients[owner].attributes["stage"]
        counts = beta.setdefault(stage, np.zeros(2))
        counts += tissue.types.count("beta"), tissue.types.count("alpha")
    ratio = {stage: b / a for stage, (b, a) in beta.items()}
    assert ratio["Non-diabetic"] > ratio["Onset"] > ratio["Long-duration"]


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
