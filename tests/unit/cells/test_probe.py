"""The probe against closed form and scikit-learn's scores, on planted types and without them."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.metrics import f1_score

from workflow_scripts.cells.probe_cells import confusion, fit_probe, labelled_cells
from workflow_scripts.cells.scores import Confusion

TYPES = np.array(["B", "T", "tumour"])


def planted(n=1500, seed=0, width=8):
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, size=n, p=[0.2, 0.3, 0.5])
    centres = np.random.default_rng(9).normal(size=(3, width))
    return centres[truth] + rng.normal(size=(n, width)), TYPES[truth]


def test_coefficients_minimise_the_summed_loss_with_lambda_one():
    tokens, labels = planted(200)
    probe, converged = fit_probe(tokens, labels, 1.0, 5000)
    assert converged
    codes = np.searchsorted(TYPES, labels)

    def objective(flat):
        weights = flat.reshape(3, -1)
        scores = tokens @ weights[:, :-1].T + weights[:, -1]
        loss = (logsumexp(scores, axis=1) - scores[np.arange(len(codes)), codes]).sum()
        return loss + 0.5 * (weights[:, :-1] ** 2).sum()

    best = minimize(objective, np.zeros(27), method="BFGS", options={"gtol": 1e-4})
    ours = np.column_stack([probe.coef_, probe.intercept_])
    assert objective(ours.ravel()) == pytest.approx(best.fun, rel=1e-6)
    np.testing.assert_allclose(probe.coef_, best.x.reshape(3, -1)[:, :-1], atol=2e-3)


def test_a_probe_that_did_not_converge_says_so():
    tokens, labels = planted(200)
    assert fit_probe(tokens, labels, 1.0, 1)[1] is False


def table_of(truth, predicted, patients):
    cells = pd.DataFrame({"patient_id": patients, "truth": truth})
    return confusion(cells, predicted)


def scored(shuffle):
    tokens, labels = planted()
    if shuffle:
        labels = np.random.default_rng(1).permutation(labels)
    probe, _ = fit_probe(tokens[:1000], labels[:1000], 1.0, 5000)
    patients = np.arange(500) % 10
    return labels[1000:], probe.predict(tokens[1000:]), patients


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
    other = Confusion(table_of(truth[:3], predicted[:3], patients[:3]))
    assert np.isnan(other.f1(np.zeros(1))).all()


def test_a_type_that_was_only_predicted_costs_its_true_type():
    ours = Confusion(table_of(np.array(["T", "T"]), np.array(["T", "NK"]), np.array([0, 1])))
    assert ours.classes == ["T"] and ours.f1().tolist() == pytest.approx([2 / 3])


def test_cells_without_a_label_or_a_token_are_left_out():
    index = pd.DataFrame({"tissue_id": "a", "cell_id": [1, 2, 3], "position": [0, 1, 2]})
    cells = pd.DataFrame({"tissue_id": "a", "cell_id": [1, 2, 4], "type": ["T", None, "B"]})
    tissues = pd.DataFrame({"tissue_id": ["a"], "patient_id": ["p"], "split": ["test"]})
    rows = labelled_cells(index, cells, tissues, "type")
    assert rows["cell_id"].tolist() == [1] and rows["patient_id"].tolist() == ["p"]
