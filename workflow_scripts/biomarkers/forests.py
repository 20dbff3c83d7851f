"""Forests that recognise the cells of a signature ("Transferring predictive ... biomarkers")."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold, train_test_split

from workflow_scripts.common.bootstrap import interval, resamples

SURE = 0.5  # share of the trees, as printed
ROWS = 50_000  # cells scored at a time


def balanced(members, seed):
    """Return the places of all members and as many others (the rarer kind's number), sorted."""
    rng = np.random.default_rng(seed)
    kinds = [np.flatnonzero(members), np.flatnonzero(~members)]
    count = min(map(len, kinds))
    return np.sort(np.concatenate([rng.choice(kind, count, replace=False) for kind in kinds]))


def fit_forest(tokens, members, settings, seed, threads=1):
    """Return a Random Forest: Gini, bootstrap, `settings` trees and depth; balanced training."""
    chosen = balanced(members, seed)
    forest = RandomForestClassifier(
        settings["trees"],
        criterion="gini",
        max_depth=settings["depth"],
        bootstrap=True,
        random_state=seed,
        n_jobs=threads,
    )
    return forest.fit(tokens[chosen], members[chosen])


def scores(forest, array, positions=None):
    """Return the share of trees [n] that call a cell a member; `array` may lie on disk."""
    positions = np.arange(len(array)) if positions is None else np.asarray(positions, int)
    parts = [np.empty(0)]
    for start in range(0, len(positions), ROWS):
        rows = positions[start : start + ROWS]
        block = array.oindex[rows] if hasattr(array, "oindex") else array[rows]
        parts.append(forest.predict_proba(block)[:, 1])
    return np.concatenate(parts)


def fit_as_printed(tokens, members, settings, seed, threads=1):
    """Return a forest and its {precision, recall} on a share of the balanced cells left out."""
    chosen = balanced(members, seed)
    learnt, left = train_test_split(
        chosen, test_size=settings["held_out"], stratify=members[chosen], random_state=seed
    )
    forest = fit_forest(tokens[learnt], members[learnt], settings, seed, threads)
    called = scores(forest, tokens[left]) > SURE
    return forest, precision_recall(called, members[left])


def scores_of_unseen_patients(tokens, members, patients, settings, seed, threads=1):
    """Return each cell's score from a forest that saw no cell of its patient (T4), [n].

    NaN for cells whose fold left a training set without members.
    """
    result = np.full(len(members), np.nan)
    folds = min(settings["folds"], len(set(patients)))
    if folds < 2:
        return result
    order = GroupKFold(folds, shuffle=True, random_state=seed)
    for learnt, left in order.split(tokens, members, patients):
        if members[learnt].any() and not members[learnt].all():
            forest = fit_forest(tokens[learnt], members[learnt], settings, seed, threads)
            result[left] = scores(forest, tokens[left])
    return result


def precision_recall(called, members):
    """Return {precision, recall}; NaN where nothing is called or nothing is a member."""
    hits = (called & members).sum()
    return {
        "precision": hits / called.sum() if called.any() else np.nan,
        "recall": hits / members.sum() if members.any() else np.nan,
    }


def judge_unseen_patients(found, members, patients, repeats, seed):
    """Return precision and recall at the true prevalence, with intervals over patients (T4).

    `found`: scores of `scores_of_unseen_patients`; also the average precision, and prevalence,
    which is the average precision of a forest that knows nothing.
    """
    known = ~np.isnan(found)
    called, members, patients = found[known] > SURE, members[known], np.asarray(patients)[known]
    facts = precision_recall(called, members) | {"prevalence": float(np.mean(members))}
    ranked = members.any() and not members.all()
    facts["average_precision"] = (
        average_precision_score(members, found[known]) if ranked else np.nan
    )
    names, codes = np.unique(patients, return_inverse=True)
    sums = [np.bincount(codes, kind, len(names)) for kind in (called & members, called, members)]
    hits, calls, all_members = (resamples(len(names), repeats, seed) @ total for total in sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        facts["precision_interval"] = interval(hits / calls)
        facts["recall_interval"] = interval(hits / all_members)
    return facts | {"patients": len(names)}


def top_share(found, share):
    """Return which cells [n] are called when as large a share as `share` may be (T4)."""
    count = round(share * len(found))
    if count == 0:
        return np.zeros(len(found), bool)
    return found >= np.partition(found, len(found) - count)[len(found) - count]
