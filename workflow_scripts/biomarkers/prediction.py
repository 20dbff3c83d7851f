"""How well a number per patient predicts response: cross-validated AUROC and what to make of it.

Scores of a predictor are [folds, patients]: what the model trained on the rest of a fold says about
its held-out patients, NaN for all others.
"""

import numpy as np
from scipy.stats import rankdata, t, ttest_ind
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold

from workflow_scripts.common.errors import InputError


def make_folds(responds, folds, repeats, seed):
    """Return `repeats` times `folds` stratified pairs (train, test) of patients' places.

    InputError if a class has fewer patients than there are folds.
    """
    fewest = min(responds.sum(), (~responds).sum())
    if fewest < folds:
        raise InputError(
            f"biomarkers.signatures.folds: {responds.sum()} patients with and "
            f"{(~responds).sum()} without response cannot be in each of {folds} folds; "
            f"expected at least {folds} of both, lower `folds`"
        )
    splitter = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    return list(splitter.split(np.zeros(len(responds)), responds))


def auroc(values, responds):
    """Return the area under the ROC curve of values [..., n]; ties count half."""
    n, positive = len(responds), int(responds.sum())
    ranks = rankdata(values, axis=-1)[..., responds].sum(axis=-1)
    return (ranks - positive * (positive + 1) / 2) / (positive * (n - positive))


def direction(values, responds):
    """Return the sign of the slope [...] of a univariate logistic regression on values [..., n].

    With a free intercept it is that of the covariance with the outcome, as the loss is convex,
    whatever the L2 penalty: the AUROC of such a model needs no fit.
    """
    difference = values[..., responds].mean(axis=-1) - values[..., ~responds].mean(axis=-1)
    return np.sign(np.round(difference, 12))


def univariate_scores(values, responds, folds):
    """Return the scores of a univariate logistic regression on values [n], as ranks it gives."""
    scores = np.full((len(folds), len(values)), np.nan)
    for row, (train, test) in zip(scores, folds, strict=True):
        row[test] = direction(values[train], responds[train]) * values[test]
    return scores


def joint_scores(values, responds, folds):
    """Return the scores of a logistic regression (L2, C = 1; D8) on values [n, predictors]."""
    scores = np.full((len(folds), len(values)), np.nan)
    for row, (train, test) in zip(scores, folds, strict=True):
        row[test] = fitted_scores(values[train], responds[train], values[test])
    return scores


def fitted_scores(train, responds, test):
    """Return the decision function on `test` [m, predictors] of a model fitted on `train`."""
    if train.shape[1] == 0:
        return np.zeros(len(test))
    return LogisticRegression().fit(train, responds).decision_function(test)


def mean_auroc(values, responds, folds):
    """Return the mean AUROC [C] over folds of a univariate model on each row of values [C, n]."""
    total = np.zeros(len(values))
    for train, test in folds:
        sign = direction(values[:, train], responds[train])
        total += 0.5 + sign * (auroc(values[:, test], responds[test]) - 0.5)
    return total / len(folds)


def fold_aurocs(scores, responds):
    """Return the AUROC of each fold [folds] from scores [folds, n]."""
    known = ~np.isnan(scores)
    return np.array([auroc(row[k], responds[k]) for row, k in zip(scores, known, strict=True)])


def resampled_auroc(scores, responds, weights):
    """Return the mean AUROC over folds [repeats] with patients weighted by `weights` [repeats, n].

    Models stay as fitted. A fold without a patient of one class counts in no mean.
    """
    found = np.empty((len(scores), len(weights)))
    for place, row in enumerate(scores):
        yes, no = (np.flatnonzero(~np.isnan(row) & kind) for kind in (responds, ~responds))
        wins = (row[yes, None] > row[no]) + 0.5 * (row[yes, None] == row[no])
        pairs = weights[:, yes].sum(axis=1) * weights[:, no].sum(axis=1)
        won = np.einsum("rp,pn,rn->r", weights[:, yes], wins, weights[:, no], optimize=True)
        found[place] = np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
    known = ~np.isnan(found)
    return np.divide(
        np.where(known, found, 0).sum(axis=0),
        known.sum(axis=0),
        out=np.full(len(weights), np.nan),
        where=known.any(axis=0),
    )


def printed_p(ours, theirs):
    """Return the paper's p: one-sided independent t-test on the AUROCs of folds (Methods).

    Without any spread 0, 0.5 or 1.
    """
    if np.ptp(ours) == 0 and np.ptp(theirs) == 0:
        return _certain(ours.mean() - theirs.mean())
    return float(ttest_ind(ours, theirs, alternative="greater").pvalue)


def corrected_p(ours, theirs, folds):
    """Return the one-sided p of the corrected resampled t-test (Nadeau and Bengio 2003; T3).

    `ours`, `theirs`: AUROCs in the same `folds`. Without any spread 0, 0.5 or 1.
    """
    difference = ours - theirs
    spread = _spread(difference, folds)
    if spread == 0:
        return _certain(difference.mean())
    return float(t.sf(difference.mean() / spread, len(difference) - 1))


def _certain(difference):
    """Return the one-sided p of a difference without spread."""
    return 0.5 if difference == 0 else float(difference < 0)


def corrected_interval(aurocs, folds):
    """Return the 95 % interval of a mean AUROC over `folds` by the same correction, in 0 to 1.

    Unlike a bootstrap of held-out patients it allows for what other train patients would teach.
    """
    half = t.ppf(0.975, len(aurocs) - 1) * _spread(aurocs, folds)
    return max(0.0, aurocs.mean() - half), min(1.0, aurocs.mean() + half)


def _spread(values, folds):
    """Return the standard error of a mean over folds: 1 / k becomes 1 / k + test / train patients.

    For the train sets of folds overlap, and repeats add no patient.
    """
    share = np.mean([len(test) / len(train) for train, test in folds])
    return np.sqrt((1 / len(values) + share) * values.var(ddof=1))


def risk_ratios(ranks, responds):
    """Return the risk ratio of response for a rank above 1, and its 95 % interval, each [C].

    `ranks` [C, n]. Katz's log-normal interval (D32). NaN where a group has no patient or nobody
    responds; infinite where only patients of high rank respond. No interval beside 0 and infinity.
    """
    high = ranks > 1
    n1, n0 = high.sum(axis=1), (~high).sum(axis=1)
    a, b = (high & responds).sum(axis=1), (~high & responds).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (a / n1) / (b / n0)
        spread = np.where((a > 0) & (b > 0), np.sqrt(1 / a - 1 / n1 + 1 / b - 1 / n0), np.nan)
        return ratio, ratio * np.exp(-1.96 * spread), ratio * np.exp(1.96 * spread)
