"""The streamed probe against scikit-learn's optimum, from memory and from disk."""

import numpy as np
import pytest
import zarr
from sklearn.linear_model import LogisticRegression

from workflow_scripts.cells import logistic
from workflow_scripts.cells.logistic import fit_logistic
from workflow_scripts.common.tokens import Rows

TYPES = np.array(["B", "T", "tumour", "vessel"])


def planted(n=1500, kinds=4, width=12, seed=0):
    """Correlated tokens with an offset, as a network gives them, and unequal classes."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(kinds, size=n, p=np.array([0.5, 0.3, 0.15, 0.05])[:kinds] / 1.0)
    mix = rng.normal(size=(width, width)) * np.arange(1, width + 1)[:, None] ** -1.0
    tokens = (rng.normal(size=(kinds, width))[truth] + rng.normal(size=(n, width))) @ mix
    return (tokens + 3).astype(np.float32), TYPES[truth]


def rows_of(tokens):
    return Rows(tokens, np.arange(len(tokens)), memory=tokens.nbytes)


def test_coefficients_are_scikit_learns_at_its_optimum():
    tokens, labels = planted()
    ours = fit_logistic(rows_of(tokens), labels, 1.0, 5000, 1e-8)
    theirs = LogisticRegression(C=1.0, max_iter=20000, tol=1e-9).fit(tokens.astype(float), labels)
    assert ours.converged and ours.iterations < theirs.n_iter_[0] / 2
    assert ours.classes.tolist() == theirs.classes_.tolist()
    np.testing.assert_allclose(ours.coef, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.intercept, theirs.intercept_, atol=1e-3)
    assert (ours.predict([tokens]) == theirs.predict(tokens)).all()


def test_two_classes_have_the_penalty_of_scikit_learns_single_weight_vector():
    tokens, labels = planted()
    two = np.isin(labels, TYPES[:2])
    ours = fit_logistic(rows_of(tokens[two]), labels[two], 2.0, 5000, 1e-8)
    theirs = LogisticRegression(C=0.5, max_iter=20000, tol=1e-9)
    theirs.fit(tokens[two].astype(float), labels[two])
    np.testing.assert_allclose(ours.coef[1] - ours.coef[0], theirs.coef_[0], atol=1e-4)


def test_from_disk_in_small_reads_it_is_the_same_fit(tmp_path, monkeypatch):
    tokens, labels = planted()
    kept = np.flatnonzero(np.arange(len(tokens)) % 3 != 1)  # rows of other splits lie between
    expected = fit_logistic(rows_of(tokens[kept]), labels[kept], 1.0, 5000)
    array = zarr.create_array(tmp_path / "t.zarr", data=tokens, chunks=(64, tokens.shape[1]))
    monkeypatch.setattr("workflow_scripts.common.tokens.READ", 128)
    monkeypatch.setattr(logistic, "COMPUTED", 50)
    rows = Rows(array, kept)
    assert rows.kept is None and max(len(block) for block in rows) <= 128
    ours = fit_logistic(rows, labels[kept], 1.0, 5000)
    np.testing.assert_allclose(ours.coef, expected.coef, atol=1e-4)


def test_rows_out_of_order_are_refused():
    with pytest.raises(ValueError, match="must ascend"):
        Rows(np.zeros((3, 2), np.float32), [2, 1])


def test_a_probe_that_was_stopped_says_so():
    tokens, labels = planted(300)
    probe = fit_logistic(rows_of(tokens), labels, 1.0, 2)
    assert not probe.converged and probe.iterations == 2


def test_separable_classes_and_a_constant_column_converge():
    tokens = np.repeat(np.eye(3, dtype=np.float32), 40, axis=0)
    tokens = np.column_stack([tokens, np.zeros(120, np.float32)])
    labels = np.repeat(TYPES[:3], 40)
    probe = fit_logistic(rows_of(tokens), labels, 1.0, 1000)
    assert probe.converged and (probe.predict([tokens]) == labels).all()
    assert np.abs(probe.coef[:, 3]).max() < 1e-6
