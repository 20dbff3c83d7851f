"""Which clusters become signatures: as printed, and nested in an outer loop of folds (D14, T2)."""

import numpy as np

from workflow_scripts.biomarkers.prediction import (
    direction,
    fitted_scores,
    fold_aurocs,
    joint_scores,
    make_folds,
    mean_auroc,
    risk_ratios,
    univariate_scores,
)
from workflow_scripts.biomarkers.ranks import ranks
from workflow_scripts.common.errors import InputError

NAMES = ("RS1", "RS2", "NRS1", "NRS2")
JOINT = "joint"


def rank_all(shares, cut_points=None):
    """Return the ranks [C, n] of shares [C, n] and the cut-points [C, 2] of each cluster."""
    given = [None] * len(shares) if cut_points is None else cut_points
    found = [ranks(row, points) for row, points in zip(shares, given, strict=True)]
    if not found:
        return np.empty(shares.shape, int), np.empty((0, 2))
    return np.array([row for row, _ in found]), np.array([points for _, points in found])


def choose(aurocs, ratios, overlap, threshold):
    """Return {name of a signature: place of its cluster} and what was passed over.

    `aurocs`, `ratios` [C]; `overlap` [C, C]. Of the response clusters (risk ratio above 1) the two
    with the highest AUROC, then of the non-response clusters (below 1); one whose cells overlap a
    chosen one by more than `threshold` is passed over (D14), as (name it would have had, its place,
    place of the chosen one). Fewer than four names where there are fewer such clusters.
    """
    chosen, passed = {}, []
    for kind, fits in (("RS", ratios > 1), ("NRS", ratios < 1)):
        number = 1
        for place in np.flatnonzero(fits)[np.argsort(-aurocs[fits], kind="stable")]:
            if number > 2:
                break
            same = [one for one in chosen.values() if overlap[place, one] > threshold]
            if same:
                passed.append((f"{kind}{number}", place, same[0]))
                continue
            chosen[f"{kind}{number}"] = place
            number += 1
    return chosen, passed


def check_four(chosen, ratios, clusters, passed):
    """Raise InputError, with counts and resolutions, unless all four signatures were found."""
    if len(chosen) == len(NAMES):
        return
    found = []
    for words, fits in (("response", ratios > 1), ("non-response", ratios < 1)):
        where = ", ".join(f"{value:.2f}" for value in np.unique(clusters.resolution[fits]))
        found.append(
            f"{fits.sum()} {words} clusters" + (f" (at resolution {where})" if where else "")
        )
    twins = f", {len(passed)} of them passed over as the same cells" if passed else ""
    raise InputError(
        f"biomarkers.signatures: expected two response and two non-response clusters among "
        f"{len(ratios)} small ones, found {' and '.join(found)}{twins}; "
        "widen `resolutions` or raise `largest_cluster`"
    )


def judge(shares, responds, folds):
    """Return ranks [C, n], cut-points [C, 2], AUROC [C] and risk ratio [C] of every cluster."""
    ranked, cut_points = rank_all(shares)
    return ranked, cut_points, mean_auroc(ranked, responds, folds), risk_ratios(ranked, responds)[0]


def printed_scores(clusters, signatures, literal, rivals, folds):
    """Return {predictor: scores [folds, n]} of each signature, of all four, and of the rivals.

    `signatures` and `literal` (the best clusters, be they one seen twice; D14): places of clusters
    by name; `rivals`: {name: values [n]}. Cut-points come from all patients.
    """
    ranked, _ = rank_all(clusters.shares)
    single = {name: ranked[place] for name, place in signatures.items()} | rivals
    scores = {
        name: univariate_scores(values, clusters.responds, folds) for name, values in single.items()
    }
    for name, places in ((JOINT, signatures), ("literal", literal)):
        values = ranked[list(places.values())].T
        scores[name] = joint_scores(values, clusters.responds, folds)
    return scores


def nested_scores(clusters, outer, settings, seed):
    """Return {signature or joint: scores [folds, n]} with nothing learned from held-out patients.

    In every fold of `outer`, cut-points, AUROCs (inner cross-validation), risk ratios, the choice
    of clusters and the logistic regressions see its train patients alone (T2). Clustering saw all
    cells, but no outcome. A signature that a fold does not find predicts nothing there (score 0).
    """
    names = (*NAMES, JOINT)
    scores = {name: np.full((len(outer), len(clusters.responds)), np.nan) for name in names}
    for place, (train, test) in enumerate(outer):
        responds = clusters.responds[train]
        fewest = min(settings["folds"], responds.sum(), (~responds).sum())
        inner = make_folds(responds, int(fewest), settings["repeats"], seed)
        ranked, cut_points, aurocs, ratios = judge(clusters.shares[:, train], responds, inner)
        chosen, _ = choose(aurocs, ratios, clusters.overlap, settings["overlap"])
        places = list(chosen.values())
        held_out, _ = rank_all(clusters.shares[places][:, test], cut_points[places])
        for name in NAMES:
            scores[name][place, test] = 0.0
        for name, one, values in zip(chosen, places, held_out, strict=True):
            scores[name][place, test] = direction(ranked[one], responds) * values
        scores[JOINT][place, test] = fitted_scores(ranked[places].T, responds, held_out.T)
    return scores


def permuted(clusters, settings, seed):
    """Return the AUROC of the best cluster and of the joint model [permutations, 2] by chance.

    Outcomes change hands; then everything is done as printed: AUROC of all clusters, choice of
    four, joint model (T2).
    """
    generator = np.random.default_rng(seed)
    ranked, _ = rank_all(clusters.shares)
    found = []
    for _ in range(settings["permutations"]):
        responds = generator.permutation(clusters.responds)
        folds = make_folds(responds, settings["folds"], settings["repeats"], seed)
        aurocs, ratios = mean_auroc(ranked, responds, folds), risk_ratios(ranked, responds)[0]
        chosen, _ = choose(aurocs, ratios, clusters.overlap, settings["overlap"])
        joint = make_folds(responds, settings["folds"], settings["joint_repeats"], seed)
        scores = joint_scores(ranked[list(chosen.values())].T, responds, joint)
        found.append((aurocs.max(), fold_aurocs(scores, responds).mean()))
    return np.array(found).reshape(-1, 2)
