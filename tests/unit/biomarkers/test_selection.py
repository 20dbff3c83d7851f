"""Which clusters become signatures, and that held-out patients teach nothing."""

import numpy as np
import pytest

from workflow_scripts.biomarkers import selection as s
from workflow_scripts.biomarkers.clusters import Clusters
from workflow_scripts.biomarkers.prediction import fold_aurocs, make_folds
from workflow_scripts.common.errors import InputError

SETTINGS = {"folds": 4, "repeats": 3, "joint_repeats": 2, "overlap": 0.5, "permutations": 8}


def clusters(responds, shares):
    count = len(shares)
    return Clusters(
        resolution=4 + 0.05 * np.arange(count),
        cluster=np.arange(count),
        size=np.full(count, 100),
        shares=np.asarray(shares, float),
        overlap=np.eye(count),
        patients=np.array([f"p{i}" for i in range(len(responds))]),
        responds=np.asarray(responds, bool),
    )


def test_the_best_two_of_each_kind_are_chosen():
    aurocs = np.array([0.6, 0.9, 0.7, 0.8, 0.65, 0.95])
    ratios = np.array([2.0, 0.5, np.inf, 1.5, 0.0, np.nan])
    chosen, passed = s.choose(aurocs, ratios, np.eye(6), 0.5)
    assert chosen == {"RS1": 3, "RS2": 2, "NRS1": 1, "NRS2": 4}
    assert passed == []


def test_a_cluster_seen_twice_is_one_signature_unless_taken_literally():
    aurocs = np.array([0.9, 0.85, 0.8, 0.7, 0.6])
    ratios = np.array([2.0, 2.0, 2.0, 0.5, 0.5])
    overlap = np.eye(5)
    overlap[0, 1] = overlap[1, 0] = 0.93
    chosen, passed = s.choose(aurocs, ratios, overlap, 0.5)
    assert chosen == {"RS1": 0, "RS2": 2, "NRS1": 3, "NRS2": 4}
    assert passed == [("RS2", 1, 0)]
    assert s.choose(aurocs, ratios, overlap, 1.0)[0]["RS2"] == 1


def test_too_few_clusters_are_counted_by_resolution():
    found = clusters([True, False] * 4, np.zeros((4, 8)))
    ratios = np.array([2.0, 0.5, 2.0, np.nan])
    chosen, passed = s.choose(np.ones(4), ratios, np.ones((4, 4)), 0.5)
    with pytest.raises(InputError) as error:
        s.check_four(chosen, ratios, found, passed)
    assert str(error.value) == (
        "biomarkers.signatures: expected two response and two non-response clusters among 4 small "
        "ones, found 2 response clusters (at resolution 4.00, 4.10) and 1 non-response clusters "
        "(at resolution 4.05), 2 of them passed over as the same cells; widen `resolutions` or "
        "raise `largest_cluster`"
    )


def test_without_any_cluster_there_is_the_same_sentence():
    found = clusters([True, False], np.empty((0, 2)))
    with pytest.raises(InputError, match="among 0 small ones, found 0 response clusters and 0 non"):
        s.check_four({}, np.empty(0), found, [])


def test_held_out_outcomes_and_shares_do_not_reach_a_nested_model():
    rng = np.random.default_rng(0)
    responds = np.arange(40) % 2 == 0
    shares = rng.random((12, 40)) * (rng.random((12, 40)) < 0.7)
    shares[0] += 0.5 * responds
    found = clusters(responds, shares)
    outer = make_folds(responds, 4, 1, seed=0)
    scores = s.nested_scores(found, outer, SETTINGS, seed=0)
    train, test = outer[0]
    other = clusters(responds.copy(), shares.copy())
    other.responds[test] = rng.permutation(responds[test])
    other.shares[:, test[0]] = rng.random(12)
    again = s.nested_scores(other, outer, SETTINGS, seed=0)
    for name in (*s.NAMES, s.JOINT):
        assert np.array_equal(scores[name][0, test[1:]], again[name][0, test[1:]])
        assert np.isnan(scores[name][0, train]).all()


def test_the_best_of_many_empty_clusters_looks_good_and_nested_it_does_not():
    """T2: with outcomes that belong to nobody the printed figure is above 0.5."""
    printed, nested, best = [], [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        responds = rng.permutation(100) < 48
        shares = rng.random((60, 100)) * (rng.random((60, 100)) < 0.6)
        found = clusters(responds, shares)
        folds = make_folds(responds, 4, 3, seed)
        ranked, _, aurocs, ratios = s.judge(shares, responds, folds)
        places, _ = s.choose(aurocs, ratios, found.overlap, 0.5)
        scores = s.printed_scores(found, places, places, {}, folds)
        printed.append(fold_aurocs(scores[s.JOINT], responds).mean())
        chance = s.permuted(found, SETTINGS, seed)
        assert chance.shape == (8, 2)
        assert chance[:, 0].mean() > 0.56  # as much as was found
        best.append(aurocs.max() - chance[:, 0].mean())
        inside = s.nested_scores(found, folds[:4], SETTINGS, seed)[s.JOINT]
        nested.append(fold_aurocs(inside, responds).mean())
    assert np.mean(printed) > 0.62
    assert abs(np.mean(nested) - 0.5) < 0.09
    assert abs(np.mean(best)) < 0.05
