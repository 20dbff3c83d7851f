"""Cross-validated AUROC, risk ratios and tests against the libraries that compute them."""

import numpy as np
import pytest
from scipy.stats import t, ttest_ind
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import Table2x2

from workflow_scripts.biomarkers import prediction as p
from workflow_scripts.common.errors import InputError


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    responds = rng.random(60) < 0.45
    ranks = rng.integers(0, 4, (8, 60))
    ranks[0] = np.clip(ranks[0] + 2 * responds, 0, 3)
    ranks[1] = 2  # a cluster that says nothing
    return ranks, responds


def test_auroc_is_scikit_learns(data):
    ranks, responds = data
    expected = [roc_auc_score(responds, row) for row in ranks]
    assert p.auroc(ranks, responds) == pytest.approx(expected, abs=1e-12)


def test_a_univariate_model_needs_no_fit(data):
    ranks, responds = data
    folds = p.make_folds(responds, 4, 3, seed=1)
    ours = p.mean_auroc(ranks, responds, folds)
    for place, row in enumerate(ranks):
        scores = [
            roc_auc_score(
                responds[test],
                LogisticRegression()
                .fit(row[train, None], responds[train])
                .predict_proba(row[test, None])[:, 1],
            )
            for train, test in folds
        ]
        assert ours[place] == pytest.approx(np.mean(scores), abs=1e-12)
        single = p.fold_aurocs(p.univariate_scores(row, responds, folds), responds)
        assert single == pytest.approx(scores, abs=1e-12)
    assert ours[1] == 0.5


def test_the_joint_model_is_scikit_learns(data):
    ranks, responds = data
    folds = p.make_folds(responds, 4, 1, seed=1)
    scores = p.joint_scores(ranks[:4].T, responds, folds)
    train, test = folds[2]
    model = LogisticRegression().fit(ranks[:4, train].T, responds[train])
    expected = model.decision_function(ranks[:4, test].T)
    assert scores[2, test] == pytest.approx(expected)
    assert np.isnan(scores[2, train]).all()


def test_folds_are_stratified_and_repeat():
    responds = np.arange(20) < 8
    folds = p.make_folds(responds, 4, 10, seed=0)
    assert len(folds) == 40 and all(responds[test].sum() == 2 for _, test in folds)
    again = p.make_folds(responds, 4, 25, seed=0)  # further repeats leave the first ones alone
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(folds, again, strict=False))
    with pytest.raises(InputError) as error:
        p.make_folds(np.arange(20) < 3, 4, 1, seed=0)
    assert str(error.value) == (
        "biomarkers.signatures.folds: 3 patients with and 17 without response cannot be in each "
        "of 4 folds; expected at least 4 of both, lower `folds`"
    )


def test_weights_are_repeated_patients(data):
    ranks, responds = data
    folds = p.make_folds(responds, 4, 2, seed=1)
    scores = p.univariate_scores(ranks[0], responds, folds)
    weights = np.random.default_rng(3).integers(1, 4, (3, 60))
    drawn = p.resampled_auroc(scores, responds, np.vstack([np.ones((1, 60)), weights]))
    assert drawn[0] == pytest.approx(p.fold_aurocs(scores, responds).mean())
    for row, value in zip(weights, drawn[1:], strict=True):
        repeated = np.repeat(np.arange(60), row)
        expected = p.fold_aurocs(scores[:, repeated], responds[repeated]).mean()
        assert value == pytest.approx(expected)


def test_a_fold_without_a_class_counts_in_no_mean():
    responds = np.array([True, False, True, False])
    scores = np.array([[1.0, 0.0, np.nan, np.nan], [np.nan, np.nan, 0.0, 1.0]])
    drawn = p.resampled_auroc(scores, responds, np.array([[1, 1, 0, 1], [1, 0, 0, 1]]))
    assert drawn[0] == 1.0 and np.isnan(drawn[1])


def test_risk_ratio_and_interval_are_statsmodels():
    ranks = np.array([[3] * 6 + [2] * 9 + [1] * 5 + [0] * 10])
    responds = np.arange(30) % 3 == 0
    high = ranks[0] > 1
    table = [
        [(high & responds).sum(), (high & ~responds).sum()],
        [(~high & responds).sum(), (~high & ~responds).sum()],
    ]
    theirs = Table2x2(np.array(table))
    ratio, low, high_end = p.risk_ratios(ranks, responds)
    assert ratio[0] == pytest.approx(theirs.riskratio)
    assert (low[0], high_end[0]) == pytest.approx(theirs.riskratio_confint(), rel=1e-4)


def test_risk_ratios_at_the_edge():
    responds = np.array([True, True, False, False])
    ranks = np.array([[2, 2, 0, 0], [0, 0, 2, 2], [0, 1, 1, 0]])
    ratio, low, _ = p.risk_ratios(ranks, responds)
    assert np.isinf(ratio[0]) and ratio[1] == 0 and np.isnan(ratio[2])
    assert np.isnan(low).all()


def test_the_printed_p_falls_with_repeats_and_the_corrected_one_does_not():
    rng = np.random.default_rng(0)
    found = {}
    for repeats in (5, 50):
        folds = [(np.arange(83), np.arange(28))] * (4 * repeats)
        ours = rng.normal(0.66, 0.1, 4 * repeats)
        theirs = rng.normal(0.62, 0.1, 4 * repeats)
        printed, corrected = p.printed_p(ours, theirs), p.corrected_p(ours, theirs, folds)
        assert printed == ttest_ind(ours, theirs, alternative="greater").pvalue
        d, k = ours - theirs, 4 * repeats
        by_hand = d.mean() / np.sqrt((1 / k + 28 / 83) * d.var(ddof=1))
        assert corrected == pytest.approx(t.sf(by_hand, k - 1))
        low, high = p.corrected_interval(d + 0.5, folds)
        assert (high - low) / 2 == pytest.approx(t.ppf(0.975, k - 1) * d.mean() / by_hand)
        found[repeats] = printed, corrected
    assert found[50][0] < 0.01 and found[50][1] > 0.2


def test_predictors_without_spread():
    folds = [(np.arange(3), np.arange(1))] * 4
    same = np.full(4, 0.7)
    for other, expected in ((same, 0.5), (same - 0.1, 0.0), (same + 0.1, 1.0)):
        assert p.corrected_p(same, other, folds) == p.printed_p(same, other) == expected
