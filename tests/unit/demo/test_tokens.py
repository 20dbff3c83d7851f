"""Cells as tokens: what is planted is found in patients, and gone when the link is cut."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu, norm
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score

from demo.simulator.cohort import read_effects
from demo.simulator.patients import response_log_odds
from demo.simulator.tokens import direction, simulate_tokens

EFFECTS = read_effects()
COHORTS = EFFECTS["cohorts"]
CUT = pytest.mark.parametrize("cut", [None, "outcomes"])


@cache
def simulate(name, patients=400, cells=60, seed=0, cut=None):
    return simulate_tokens(EFFECTS, name, patients, cells, seed, cut=cut)


def shares(cohort, column, time=None):
    """Return the share of a patient's cells in each niche or type."""
    keep = cohort.cells.time == time if time else slice(None)
    cells = cohort.cells[keep]
    counts = pd.crosstab(cells.patient_id, cells[column], normalize="index")
    return counts.reindex(cohort.patients.patient_id)


@pytest.mark.parametrize("name", COHORTS)
def test_rows_belong_together(name):
    cohort = simulate(name, patients=7, cells=11)
    visits = len(COHORTS[name].get("visits", {"values": [None]})["values"])
    assert cohort.tokens.shape == (7 * 11 * visits, 16) and cohort.tokens.dtype == np.float32
    assert len(cohort.cells) == len(cohort.tokens)
    assert not cohort.cells.duplicated(["tissue_id", "cell_id"]).any()
    assert cohort.cells.groupby("patient_id").tissue_id.nunique().eq(visits).all()
    assert cohort.patients.patient_id.tolist() == list(cohort.composition.index)
    np.testing.assert_allclose(cohort.composition.sum(axis=1), 1)
    category = {t: spec["category"] for t, spec in COHORTS[name]["cell_types"].items()}
    assert cohort.cells.cell_type.map(category).equals(cohort.cells.category)
    for niche, cells in cohort.cells.groupby("niche"):
        assert set(cells.cell_type) <= set(COHORTS[name]["niches"][niche]["types"])


def test_the_seed_fixes_all_numbers():
    drawn = (simulate.__wrapped__("wang2023", 5, 20, seed=seed) for seed in (3, 3, 4))
    first, again, other = drawn
    np.testing.assert_array_equal(first.tokens, again.tokens)
    pd.testing.assert_frame_equal(first.cells, again.cells)
    pd.testing.assert_frame_equal(first.patients, again.patients)
    assert not np.array_equal(first.tokens, other.tokens)


def test_a_cut_moves_one_thing_only():
    whole, outcomes, labels = (
        simulate("cords2024", 30, 20, cut=c) for c in (None, "outcomes", "labels")
    )
    for cut in (outcomes, labels):
        np.testing.assert_array_equal(cut.tokens, whole.tokens)
    pd.testing.assert_frame_equal(outcomes.cells, whole.cells)
    pd.testing.assert_frame_equal(labels.patients, whole.patients)
    columns = list(whole.patients.columns[1:])
    assert not outcomes.patients.equals(whole.patients)
    moved, still = (c.patients[columns].sort_values(columns) for c in (outcomes, whole))
    np.testing.assert_array_equal(moved.to_numpy(), still.to_numpy())
    assert labels.cells.cell_type.value_counts().equals(whole.cells.cell_type.value_counts())
    assert (labels.cells.cell_type == whole.cells.cell_type).mean() < 0.3
    with pytest.raises(ValueError, match="cut='outcome', expected one of"):
        simulate("cords2024", 2, 2, cut="outcome")


@pytest.mark.parametrize("name", COHORTS)
def test_a_probe_finds_types_and_niches_but_not_shuffled_ones(name):
    for cut in (None, "labels"):
        cohort = simulate(name, patients=60, cells=60, cut=cut)
        train = (cohort.cells.patient_id < "P0040").to_numpy()
        for column, least in (("cell_type", 0.93), ("niche", 0.8)):
            truth = cohort.cells[column].to_numpy()
            probe = LogisticRegression(max_iter=300).fit(cohort.tokens[train], truth[train])
            accuracy = probe.score(cohort.tokens[~train], truth[~train])
            common = pd.Series(truth).value_counts(normalize=True).iloc[0]
            assert accuracy > least if cut is None else accuracy < common + 0.03, column


def test_names_mean_the_same_in_every_cohort():
    assert direction("niche", "Stroma", 16) @ direction("niche", "Stroma", 16) == pytest.approx(1)
    assert direction("niche", "Stroma", 16) @ direction("cell_type", "Stroma", 16) < 0.8
    first, second = (simulate(name, 40, 60) for name in ("wang2023", "danenberg2022"))
    vectors = []
    for cohort in (first, second):
        tokens = pd.DataFrame(cohort.tokens).groupby(cohort.cells.cell_type).mean()
        vectors.append(tokens)
    both = vectors[0].index.intersection(vectors[1].index)
    assert {"Fibroblasts", "Myofibroblasts"} <= set(both)
    for name in both:
        cosine = [
            np.corrcoef(vectors[0].loc[name], vectors[1].loc[o])[0, 1] for o in vectors[1].index
        ]
        assert vectors[1].index[np.argmax(cosine)] == name


# --- outcomes: planted, and cut --------------------------------------------------------------


@CUT
@pytest.mark.parametrize("arm", ["C&I", "C"])
def test_response_in_the_cells_of_the_first_visit(arm, cut):
    linked = cut is None and arm == "C&I"
    cohort = simulate("wang2023", 800, cut=cut)
    treated = (cohort.patients.Arm == arm).to_numpy()
    found = shares(cohort, "niche", "Baseline")[treated]
    responds = (cohort.patients.pCR == "pCR")[treated].to_numpy()
    for row in COHORTS["wang2023"]["effects"]:
        if row["kind"] == "response":
            share = found[row["cause"]]
            auroc = roc_auc_score(responds, np.sign(row["size"]) * share)
            p = mannwhitneyu(share[responds], share[~responds]).pvalue
            assert (auroc > 0.57 and p < 1e-2) if linked else p > 1e-3, row


@pytest.mark.parametrize("seed", [0, 1])
def test_response_in_clusters_of_tokens(seed):
    """Without any label: clusters of tokens, their proportions, a cross-validated classifier."""
    auroc = {}
    for cut in (None, "outcomes"):
        cohort = simulate("wang2023", 500, seed=seed, cut=cut)
        first = (cohort.cells.time == "Baseline").to_numpy()
        cells = cohort.cells[first]
        model = MiniBatchKMeans(25, random_state=0, n_init=1, batch_size=4096)
        table = pd.crosstab(
            cells.patient_id, model.fit_predict(cohort.tokens[first]), normalize="index"
        )
        treated = (cohort.patients.Arm == "C&I").to_numpy()
        proportions = 10 * table.reindex(cohort.patients.patient_id)[treated].to_numpy()
        responds = (cohort.patients.pCR == "pCR")[treated]
        model = LogisticRegression(C=1, max_iter=300)
        auroc[cut] = cross_val_score(model, proportions, responds, cv=5, scoring="roc_auc").mean()
    assert auroc[None] > 0.66 and abs(auroc["outcomes"] - 0.5) < 0.12


@CUT
def test_visits_change_with_response(cut):
    cohort = simulate("wang2023", 500, cut=cut)
    responds = (cohort.patients.pCR == "pCR").to_numpy()
    for row in COHORTS["wang2023"]["effects"]:
        if row["kind"] == "niche":
            niche, time = row["target"], row["cause"]["BiopsyPhase"]
            change = (shares(cohort, "niche", time) - shares(cohort, "niche", "Baseline"))[niche]
            hit = responds if row["cause"]["pCR"] == "pCR" else ~responds
            p = mannwhitneyu(change[hit.tolist()], change[(~hit).tolist()]).pvalue
            sign = np.sign(change[hit].mean() - change[~hit].mean()) == np.sign(row["size"])
            assert (sign and p < 1e-4) if cut is None else p > 1e-3, row


def log_rank(years, seen, high):
    """Return z of the log-rank test; positive: more events in `high` than expected."""
    excess = variance = 0.0
    for time in np.unique(years[seen]):
        at_risk, events = years >= time, (years == time) & seen
        n, n_high, d = at_risk.sum(), (at_risk & high).sum(), events.sum()
        excess += (events & high).sum() - d * n_high / n
        if n > 1:
            variance += d * (n_high / n) * (1 - n_high / n) * (n - d) / (n - 1)
    return excess / np.sqrt(variance)


HAZARDS = [
    (name, row["id"])
    for name in COHORTS
    for row in COHORTS[name]["effects"]
    if row["kind"] == "hazard"
]


@CUT
@pytest.mark.parametrize(("name", "row_id"), HAZARDS)
def test_survival_in_the_cells(name, row_id, cut):
    (row,) = [row for row in COHORTS[name]["effects"] if row["id"] == row_id]
    cohort = simulate(name, 600, cells=100, cut=cut)
    share = shares(cohort, "niche")[row["cause"]].to_numpy()
    event = row["target"]
    years, seen = (cohort.patients[f"{event}_{what}"].to_numpy() for what in ("years", "seen"))
    z = np.sign(row["size"]) * log_rank(years, seen, share > np.median(share))
    assert z > norm.isf(0.01) if cut is None else abs(z) < norm.isf(5e-4)


@CUT
def test_subtype_in_the_cells(cut):
    cohort = simulate("danenberg2022", 300, cut=cut)
    positive = (cohort.patients.ERStatus == "pos").to_numpy()
    share = shares(cohort, "cell_type")["CK8-18^{+} ER^{hi}"]
    auroc = roc_auc_score(positive, share)
    assert auroc > 0.95 if cut is None else abs(auroc - 0.5) < 0.12


def test_truth_comes_along():
    """The log-odds that the table plants are those of the returned composition."""
    cohort = simulate("wang2023", 800)
    section = COHORTS["wang2023"]
    rows = [row for row in section["effects"] if row["kind"] == "response"]
    excess = [
        row["size"] * (cohort.composition[row["cause"]] - section["niches"][row["cause"]]["share"])
        for row in rows
    ]
    score = 10 * np.sum(excess, axis=0)
    for arm, expected in (("C&I", 0.85), ("C", 0.5)):
        members = (cohort.patients.Arm == arm).to_numpy()
        auroc = roc_auc_score(cohort.patients.pCR[members] == "pCR", score[members])
        assert auroc == pytest.approx(expected, abs=0.06)
    assert response_log_odds(section, []).shape == (0,)
