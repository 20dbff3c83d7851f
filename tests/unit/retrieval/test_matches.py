"""Who may answer a query, the tests against random retrieval, planted classes and none."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar

from workflow_scripts.common.matching import closest
from workflow_scripts.retrieval import fig4h
from workflow_scripts.retrieval import matches as m
from workflow_scripts.retrieval.distances import wasserstein_matrix
from workflow_scripts.retrieval.match_distance import composition, composition_distances
from workflow_scripts.retrieval.match_tissues import match_table

TISSUES = pd.DataFrame(
    {"patient_id": ["p", "p", "q", "r"], "original_file_name": ["a", "b", "a", "b"]},
    index=["t0", "t1", "t2", "t3"],
)


@pytest.mark.parametrize(
    ("exclude", "allowed"),
    [("image", {1, 2, 3}), ("patient", {2, 3}), ("block", {3})],
)
def test_a_query_never_retrieves_what_is_excluded(exclude, allowed):
    pairs = m.eligible_pairs(TISSUES, exclude)
    assert set(np.flatnonzero(pairs[0])) == allowed and not pairs.diagonal().any()
    distances = np.array([[0, 1, 3, 2]] * 4, float)
    found = closest(distances, pairs, m.TOP)
    assert found.shape == (4, m.TOP)
    assert [t for t in found[0] if t >= 0] == sorted(allowed, key=lambda t: distances[0, t])


def test_mcnemar_is_statsmodels_without_correction():
    rng = np.random.default_rng(0)
    ours, random = rng.random((2, 90)) < [[0.7], [0.4]]
    table = [[(ours & random).sum(), (ours & ~random).sum()],
             [(random & ~ours).sum(), (~ours & ~random).sum()]]  # fmt: skip
    theirs = their_mcnemar(table, exact=False, correction=False).pvalue
    assert abs(m.mcnemar(ours, random) - theirs) < 1e-12
    assert m.mcnemar(ours, ours) == 1.0


def test_expected_precision_is_the_mean_of_many_draws():
    rng = np.random.default_rng(0)
    tissues = pd.DataFrame({"patient_id": rng.integers(0, 12, 30).astype(str)})
    allowed = m.eligible_pairs(tissues, "patient")
    classes = rng.choice(np.array(["a", "b", None], dtype=object), 30)
    draws = [m.hits(m.drawn(allowed, seed), classes).mean(axis=1) for seed in range(3000)]
    expected = m.expected_precision(allowed, classes)
    np.testing.assert_allclose(np.mean(draws, axis=0), expected, atol=0.03)


@pytest.mark.parametrize("n", [2, 4, 40])
def test_a_draw_is_the_closest_by_random_distances(n):
    allowed = np.random.default_rng(n).random((n, n)) < 0.3
    for seed in range(20):
        distances = np.random.default_rng(seed).random((n, n))
        assert (m.drawn(allowed, seed) == closest(distances, allowed, m.TOP)).all()


def test_tasks_and_models_share_their_draws(monkeypatch):
    monkeypatch.setattr(fig4h, "DRAWS", 3)
    calls, drawn = [], m.drawn
    monkeypatch.setattr(m, "drawn", lambda *args: calls.append(args[1]) or drawn(*args))
    table = match_table(TISSUES.index, np.ones((4, 4)), TISSUES)
    classes = {task: np.array(["x", "y", "x", "y"], dtype=object) for task in ("a", "b")}
    rows = fig4h.score({"one": table, "two": table}, TISSUES, classes, repeats=10, seed=5)
    assert len(rows) == 4 * len(m.EXCLUDE) and calls == [5, 6, 7] * len(m.EXCLUDE)


def planted(shift, seed, n=60):
    """Score tissues of two classes, whose tokens differ by `shift`."""
    rng = np.random.default_rng(seed)
    classes = np.array(["adeno", "squamous"], dtype=object)[np.arange(n) % 2]
    tokens = rng.normal(size=(n, 16, 6)) + shift * (np.arange(n) % 2)[:, None, None]
    ids = np.array([f"t{i}" for i in range(n)])
    tissues = pd.DataFrame({"patient_id": ids, "original_file_name": "f"}, index=ids)
    tables = {"all14": match_table(ids, wasserstein_matrix(tokens), tissues)}
    table = fig4h.score(tables, tissues, {"subtype": classes}, repeats=200, seed=seed)
    return table[table["exclude"] == "patient"].iloc[0]


def test_planted_classes_are_retrieved():
    row = planted(shift=0.6, seed=0)
    assert row["low"] > 0.8 > 0.6 > row["random"]
    assert row["mcnemar_p_median"] < 1e-6 and row["clustered_p"] < 0.01


def test_without_a_difference_retrieval_is_random(monkeypatch):
    monkeypatch.setattr(fig4h, "DRAWS", 5)
    rows = [planted(shift=0.0, seed=seed, n=40) for seed in range(12)]
    assert abs(np.mean([row["precision"] - row["random"] for row in rows])) < 0.05
    assert sum(row["mcnemar_p"] < 0.01 for row in rows) <= 2


def test_numbers_carry_the_statements_and_what_is_missing():
    row = planted(shift=0.6, seed=1).to_dict()
    table = pd.DataFrame([row])
    numbers = fig4h.summarise(table, "all14", {}, seed=0)
    assert numbers["C063"]["value"] == row["mcnemar_p"] and numbers["C063"]["careful"]
    assert not numbers["C063"]["contrary"]
    worse = pd.DataFrame([row | {"precision": row["random"] - 0.1}])
    assert fig4h.summarise(worse, "all14", {}, seed=0)["C063"]["contrary"]
    assert numbers["C064"]["status"] == "not run: no tissue has a class of grade"
    assert "needs ResNet-50 and CA-MAE and KRONOS" in numbers["C060"]["status"]
    rivals = [row | {"model": rival, "precision": 0.1} for rival in m.RIVALS]
    numbers = fig4h.summarise(pd.DataFrame([row, *rivals]), "all14", {}, seed=0)
    assert numbers["C060"]["value"] == 1


def test_compositions_differ_by_their_l1_distance():
    cells = pd.DataFrame({"tissue_id": ["t0", "t0", "t1"], "label": ["a", "b", "a"]})
    proportions = composition(cells, "label", ["t0", "t1", "t2"])
    assert proportions[0].tolist() == [0.5, 0.5] and np.isnan(proportions[2]).all()
    assert composition_distances(proportions)[0, 1] == 1.0
