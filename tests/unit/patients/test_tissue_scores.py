"""Scores of tissue classifiers against scikit-learn, by hand, and under no effect."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest
from sklearn.metrics import f1_score

from workflow_scripts.patients import tissue_scores as s
from workflow_scripts.patients.tumour_fraction import predicted_by_fraction


def rows_of(truth, predicted, patients, seed=0):
    """Return predictions in which the predicted class has probability 0.9."""
    classes = sorted(set(truth) | set(predicted))
    return pd.DataFrame(
        [
            (seed, f"t{i}", patients[i], truth[i], name, 0.9 if name == predicted[i] else 0.1)
            for i in range(len(truth))
            for name in classes
        ],
        columns=["seed", "tissue_id", "patient_id", "truth", "class", "probability"],
    )


def drawn(right, seed, n=60):
    """Return truth, a guess that is right with this chance, and patients of two images each."""
    rng = np.random.default_rng(seed)
    truth = np.array(["a", "b", "c"])[rng.integers(0, 3, n)]
    guess = np.where(rng.random(n) < right, truth, rng.choice(["a", "b", "c"], n))
    return truth, guess, [f"p{i // 2}" for i in range(n)]


def test_macro_f1_is_scikit_learns_for_every_seed():
    runs = [drawn(0.5, seed) for seed in range(3)]
    rows = pd.concat([rows_of(*run, seed=seed) for seed, run in enumerate(runs)])
    found = s.score(s.predicted_images(rows), repeats=50, seed=0)
    expected = [f1_score(truth, guess, average="macro") for truth, guess, _ in runs]
    np.testing.assert_allclose(found.f1, expected)
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.spread == pytest.approx(np.std(expected, ddof=1))
    assert found.draws.shape == (50,) and len(found.patients) == 30


def test_a_class_that_the_test_split_lacks_is_not_averaged_but_its_prediction_is_a_miss():
    rows = rows_of(["a", "a", "b", "b"], ["a", "z", "b", "b"], list("pqrs"))
    assert s.score(s.predicted_images(rows), 9, 0).mean == pytest.approx((2 / 3 + 1) / 2)


def test_a_patient_has_the_mean_of_its_images_and_none_when_they_disagree():
    rows = pd.DataFrame(
        [
            (0, "t0", "p", "a", "a", 0.9),
            (0, "t0", "p", "a", "b", 0.1),
            (0, "t1", "p", "a", "a", 0.4),
            (0, "t1", "p", "a", "b", 0.6),
            (0, "t2", "q", "a", "a", 0.2),
            (0, "t2", "q", "a", "b", 0.8),
            (0, "t3", "q", "b", "a", 0.2),
            (0, "t3", "q", "b", "b", 0.8),
        ],
        columns=["seed", "tissue_id", "patient_id", "truth", "class", "probability"],
    )
    assert s.predicted_images(rows)["predicted"].tolist() == ["a", "b", "b", "b"]
    assert s.predicted_patients(rows)[["patient_id", "predicted"]].values.tolist() == [["p", "a"]]
    assert s.discordant_patients(rows) == 1


def test_five_seeds_against_five_give_the_smallest_p_that_there_is():
    assert s.mann_whitney(np.arange(5) + 10.0, np.arange(5.0)) == pytest.approx(1 / 252)
    assert s.mann_whitney(np.arange(5.0), np.arange(5) + 10.0) == 1
    assert s.mann_whitney(np.ones(5), np.ones(5)) == 1


def compared(right, seed):
    """Compare a guess that is right this often more than chance with one that is not."""
    truth, guess, patients = drawn(right, seed, n=120)
    other = drawn(0.0, seed + 1000, n=120)[1]
    scores = [
        s.score(s.predicted_images(rows_of(truth, found, patients)), 200, 0)
        for found in (guess, other)
    ]
    return s.compare(*scores)


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_difference_is_found_with_its_interval(seed):
    found = compared(0.7, seed)
    assert found["bootstrap_p"] < 0.01 and found["gain_low"] > 0
    assert found["gain_low"] < found["gain"] < found["gain_high"]


def test_without_a_difference_the_bootstrap_p_is_uniform():
    ps = [compared(0.0, seed)["bootstrap_p"] for seed in range(40)]
    assert kstest(ps, "uniform").pvalue > 0.001 and min(ps) < 0.3 < 0.7 < max(ps)


def test_five_seeds_on_one_test_set_reject_far_too_often_and_the_patient_bootstrap_does_not():
    """T7: equally good models, each with its own errors, which its seeds share but for a few."""
    rng, rejected = np.random.default_rng(0), []
    truth, patients = np.repeat(["a", "b"], 40), [f"p{i}" for i in range(80)]
    for _ in range(40):
        scores = []
        for _ in range(2):
            errors = rng.random(80) < 0.35
            rows = pd.DataFrame({"patient_id": patients, "truth": truth})
            seeds = []
            for seed in range(5):
                wrong = errors ^ (rng.random(80) < 0.03)
                guess = np.where(wrong ^ (truth == "b"), "b", "a")
                seeds.append(rows.assign(seed=seed, predicted=guess))
            scores.append(s.score(pd.concat(seeds), 100, 0))
        found = s.compare(*scores)
        rejected.append([found["mann_whitney_p"] < 0.05, found["bootstrap_p"] < 0.05])
    printed, careful = np.mean(rejected, axis=0)
    assert printed > 0.25 and careful < 0.15


def test_models_that_were_tested_on_other_patients_are_not_paired():
    one, two = (
        s.score(s.predicted_images(rows_of(["a", "b"] * 3, ["a", "a"] * 3, patients)), 20, 0)
        for patients in (list("pqrstu"), list("vwxyzp"))
    )
    found = s.compare(one, two)
    assert found["bootstrap_p"] is None and found["gain_low"] is None and found["gain"] == 0


def test_a_gain_over_nothing_is_no_number():
    assert np.isnan(s.relative_gain(0.5, 0.0))
    assert s.relative_gain(0.6, 0.5) == pytest.approx(20)


def test_the_tumour_fraction_alone_predicts_what_follows_from_it():
    ids = [f"t{i}" for i in range(40)]
    problem = {
        "labels": {t: "pCR" if i % 2 else "RD" for i, t in enumerate(ids)},
        "patients": {t: f"p{i}" for i, t in enumerate(ids)},
        "train": ids[:30],
        "test": ids[30:],
    }
    fraction = pd.Series([0.1 + 0.6 * (i % 2 == 0) for i in range(39)], ids[:39])
    found = predicted_by_fraction(fraction, problem)
    assert (found["predicted"] == found["truth"])[:-1].all() and len(found) == 10
    nothing = predicted_by_fraction(pd.Series(0.5, ids), problem)
    assert nothing["predicted"].nunique() == 1
