"""Scores and paired tests against scikit-learn, on planted types and without them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from workflow_scripts.cells.logistic import fit_logistic
from workflow_scripts.cells.probe_cells import confusion
from workflow_scripts.common.cell_types import labelled_cells
from workflow_scripts.common.scores import Confusion, difference, paired, swap_test
from workflow_scripts.common.tokens import Rows

TYPES = np.array(["B", "T", "tumour"])


def planted(n=1500, seed=0, width=8):
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, size=n, p=[0.2, 0.3, 0.5])
    centres = np.random.default_rng(9).normal(size=(3, width))
    return centres[truth] + rng.normal(size=(n, width)), TYPES[truth]


def table_of(truth, predicted, patients):
    cells = pd.DataFrame({"patient_id": patients, "truth": truth})
    return confusion(cells, predicted)


def scored(shuffle):
    tokens, labels = planted()
    if shuffle:
        labels = np.random.default_rng(1).permutation(labels)
    probe = fit_logistic(Rows(tokens, np.arange(1000)), labels[:1000], 1.0, 5000)
    patients = np.arange(500) % 10
    return labels[1000:], probe.predict([tokens[1000:]]), patients


def test_planted_types_are_found_and_scores_are_scikit_learns():
    truth, predicted, patients = scored(shuffle=False)
    ours = Confusion(table_of(truth, predicted, patients))
    expected = f1_score(truth, predicted, average=None, labels=ours.classes)
    np.testing.assert_allclose(ours.f1(), expected)
    assert ours.macro_f1() == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert ours.macro_f1() > 0.8
    assert ours.support().tolist() == [(truth == name).sum() for name in ours.classes]


def test_shuffled_labels_bring_f1_to_chance():
    ours = Confusion(table_of(*scored(shuffle=True)))
    # A guess that knows only the shares can do no better than always naming the largest class.
    assert ours.macro_f1() < (2 * 0.5 / 1.5) / 3 + 0.05


def test_a_patient_counts_as_often_as_its_weight():
    truth = np.array(["T", "T", "B", "B", "T"])
    predicted = np.array(["T", "B", "B", "B", "B"])
    patients = np.array([0, 0, 0, 1, 1])
    ours = Confusion(table_of(truth, predicted, patients))
    twice = np.r_[[0, 1, 2], [0, 1, 2]]
    expected = f1_score(truth[twice], predicted[twice], average=None, labels=["B", "T"])
    np.testing.assert_allclose(ours.f1(np.array([2, 0])), expected)
    both = ours.f1(np.array([[2, 0], [1, 1]]))
    np.testing.assert_allclose(both, [expected, ours.f1()])
    other = Confusion(table_of(truth[:3], predicted[:3], patients[:3]))
    assert np.isnan(other.f1(np.zeros(1))).all()


def test_a_type_that_was_only_predicted_costs_its_true_type():
    ours = Confusion(table_of(np.array(["T", "T"]), np.array(["T", "NK"]), np.array([0, 1])))
    assert ours.classes == ["T"] and ours.f1().tolist() == pytest.approx([2 / 3])


def test_cells_without_a_label_or_a_token_are_left_out_and_follow_their_tokens():
    index = pd.DataFrame({"tissue_id": "a", "cell_id": [1, 2, 3], "position": [2, 1, 0]})
    cells = pd.DataFrame({"tissue_id": "a", "cell_id": [1, 2, 3, 4], "t": ["T", None, "B", "B"]})
    tissues = pd.DataFrame({"tissue_id": ["a"], "patient_id": ["p"], "split": ["test"]})
    rows = labelled_cells(index, cells, tissues, "t")
    assert rows["cell_id"].tolist() == [3, 1] and rows["patient_id"].tolist() == ["p", "p"]


def guesses(right, patients=10, cells=40, seed=0):
    """Counts of a model that is right with that probability, on cells that do not change."""
    truth = np.tile(np.repeat(["B", "T"], cells // 2), patients)
    other = np.where(truth == "B", "T", "B")
    hit = np.random.default_rng(seed).random(len(truth)) < right
    return table_of(truth, np.where(hit, truth, other), np.repeat(np.arange(patients), cells))


def test_a_better_model_leads_with_a_small_p_and_an_equal_one_does_not():
    better = paired(guesses(0.9), guesses(0.7, seed=1))
    gap, low, high, p = difference(*better, 1024, 0)
    assert 0 < low < gap < high and p < 0.02
    gap, low, high, p = difference(*paired(guesses(0.8), guesses(0.8, seed=1)), 1024, 0)
    assert low < 0 < high and p > 0.1


def test_the_swap_test_holds_its_level_and_random_swaps_agree_with_all_swaps():
    p_values = [
        swap_test(*paired(guesses(0.8, 6, 20, 2 * i), guesses(0.8, 6, 20, 2 * i + 1)), 64, 0)
        for i in range(200)
    ]
    assert np.mean(np.array(p_values) <= 0.1) < 0.16
    both = paired(guesses(0.85), guesses(0.8, seed=1))
    assert swap_test(*both, 1023, 0) == pytest.approx(swap_test(*both, 1024, 0), abs=0.06)


def test_two_patients_leave_no_interval_and_other_cells_no_pair():
    assert difference(*paired(guesses(0.9, 2), guesses(0.7, 2)), 100, 0)[1:] == (None, None, None)
    assert paired(guesses(0.9, 3), guesses(0.9, 4)) is None
    assert paired(guesses(0.9, 3), guesses(0.9, 3, cells=20)) is None
