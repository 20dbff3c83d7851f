"""Risk from the ranks of signatures, and from ratios of cells (Methods; D16)."""

from fnmatch import fnmatch

import numpy as np

from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.survival import group_counts, logrank, risk_sets

SIGNS = {"RS1": 1, "RS2": 1, "NRS1": -1, "NRS2": -1}
RISKS = ("low risk", "medium risk", "high risk")
FEWEST = 0.05  # share of the patients that each side of a tried cut-point must have


def overall_score(ranks):
    """Return R [n]: ranks of response signatures less those of the others (a column each)."""
    return sum(sign * ranks[name].to_numpy() for name, sign in SIGNS.items())


def risk_levels(score, settings, orientation):
    """Return 0, 1 or 2 (low, medium, high risk) by R; a score at a bound is medium, as printed.

    `as_printed`: a high R, which response raises, is high risk; `reversed`: it is low risk.
    """
    levels = 1 + (score > settings["high"]).astype(int) - (score < settings["low"]).astype(int)
    return levels if orientation == "as_printed" else 2 - levels


def tertiles(values):
    """Return 0, 1 or 2 by tertile [n]; a value at a cut-point belongs below it."""
    return np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values)


def log_ratio(cells, patients, label, tumour, others):
    """Return log((tumour + 1) / (others + 1)) of each patient's cells [n] (D16).

    `cells`: patient_id and the column `label`; `tumour`, `others`: patterns of its values.
    """
    counts = []
    for patterns in (tumour, others):
        kinds = [k for k in cells[label].dropna().unique() if any(fnmatch(k, p) for p in patterns)]
        of_kind = cells.loc[cells[label].isin(kinds), "patient_id"]
        counts.append(of_kind.value_counts().reindex(patients, fill_value=0).to_numpy())
    return np.log((counts[0] + 1) / (counts[1] + 1))


def pairs(follow, risk):
    """Return comparable pairs [n, n] and how concordant each is (0, 1/2, 1), as Harrell counts.

    Pair (i, j) is comparable if i has the event before j's time, or at it while j is censored, and
    both have a risk.
    """
    time, event = follow["time"].to_numpy(float), follow["event"].to_numpy(bool)
    earlier = (time[:, None] < time) | ((time[:, None] == time) & ~event)
    risk = np.asarray(risk, float)
    known = ~np.isnan(risk)
    comparable = event[:, None] & earlier & known[:, None] & known
    return comparable, np.nan_to_num(0.5 + 0.5 * np.sign(risk[:, None] - risk))


def concordances(follow, risks, repeats, seed):
    """Return system -> (concordance, its bootstrap values [repeats]), the same resamples in each.

    `risks`: system -> risk [n], NaN for a patient without one. A resample is a weight per patient,
    so that a pair counts as often as the product of its weights says; two copies of one patient are
    no pair.
    """
    weights = np.vstack([np.ones(len(follow)), resamples(len(follow), repeats, seed)])
    result = {}
    for system, risk in risks.items():
        comparable, concordant = pairs(follow, risk)
        total = np.einsum("ri,ri->r", weights @ comparable, weights)
        right = np.einsum("ri,ri->r", weights @ (comparable * concordant), weights)
        with np.errstate(invalid="ignore"):
            values = right / total
        result[system] = float(values[0]), values[1:]
    return result


def paired_difference(first, second):
    """Return the difference of two systems of `concordances` and its 95 % interval."""
    return first[0] - second[0], *interval(first[1] - second[1])


def cut_point_p(follow, score, settings, permutations, seed):
    """Return a p of the printed high-versus-low log-rank test had its cut-points been chosen (T5).

    The printed statistic is compared with the largest over all pairs of cut-points when scores are
    dealt to other patients. NaN where the printed cut-points leave a side empty.
    """
    values, codes = np.unique(score, return_inverse=True)
    low = [values < cut for cut in values]
    high = [values > cut for cut in values]
    sizes, fewest = np.bincount(codes), FEWEST * len(score)
    tried = [
        (ours, theirs)
        for ours in high
        for theirs in low
        if sizes[ours].sum() >= fewest
        and sizes[theirs].sum() >= fewest
        and not (ours & theirs).any()
    ]
    printed = values > settings["high"], values < settings["low"]
    if not all(side.any() for side in printed):
        return np.nan
    sides = [np.array(side).T.astype(float) for side in zip(printed, *tried, strict=True)]
    times, place = risk_sets(follow)
    event = follow["event"].to_numpy(bool)
    rng = np.random.default_rng(seed)

    def statistics(codes):
        risk, events = group_counts(place, event, codes, len(values), times)
        return two_sided(*(risk @ side for side in sides), *(events @ side for side in sides))

    observed = statistics(codes)[0]
    largest = [statistics(rng.permutation(codes)).max() for _ in range(permutations)]
    return float((1 + (np.array(largest) >= observed - 1e-12).sum()) / (1 + permutations))


def two_sided(risk_a, risk_b, events_a, events_b):
    """Return log-rank statistics [pairs] between sides a and b from counts [J, pairs]."""
    n, d = risk_a + risk_b, events_a + events_b
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.nan_to_num(risk_a * d / n)
        variance = np.nan_to_num(risk_a * risk_b * d * (n - d) / (n**2 * np.maximum(n - 1, 1)))
        statistic = (events_a - expected).sum(0) ** 2 / variance.sum(0)
    return np.nan_to_num(statistic)


def by_level(follow, levels):
    """Return the name of each risk group that has patients -> its follow-up, the highest first."""
    named = zip(RISKS[::-1], (2, 1, 0), strict=True)
    return {name: follow[levels == level] for name, level in named if (levels == level).any()}


def levels_of(patients, settings):
    """Return system -> risk levels [n] of a table of patients, NaN where a patient has none.

    Systems are our groups in both orientations and, where the table has them, the published groups
    and tertiles of the ratios.
    """
    score = patients["score"].to_numpy()
    found = {o: risk_levels(score, settings, o) for o in ("as_printed", "reversed")}
    order = {name: level for level, name in enumerate(settings["group_order"])}
    if patients["group"].notna().any():
        found["meyer"] = patients["group"].map(order).to_numpy(float)
    for ratio in settings["ratios"]:
        if f"ratio_{ratio}" in patients:
            found[f"ratio_{ratio}"] = tertiles(patients[f"ratio_{ratio}"].to_numpy())
    return found


def high_against_low(follow, levels):
    """Return p of the log-rank test between high and low risk, and whether high risk lives longer.

    p is NaN if one of them has nobody.
    """
    ends = (levels == 2) | (levels == 0)
    if not ends.any():
        return np.nan, False
    test = logrank(follow[ends], levels[ends])
    return test["p"], test["excess"].get(2, 0) < 0
