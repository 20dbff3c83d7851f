"""Which tissues may answer a query, the closest of them, and random ones (D21, D22, D23)."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import chi2

from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.matching import closest

TOP = 3  # "the top three results retrieved"
# What a query may not retrieve: itself, other images of its patient, those of its block as well.
EXCLUDE = ("patient", "image", "block")
HEADLINE = "patient"  # the others are printed beside it (D23)
RIVALS = ("resnet50", "camae", "kronos")  # that the paper's statements compare with


def read_matches(paths):
    """Return model -> match table; a model without niche tokens has no match and is left out."""
    tables = {Path(path).parent.name: pd.read_parquet(path) for path in paths}
    return {model: table for model, table in tables.items() if len(table)}


def eligible_pairs(tissues, exclude):
    """Return which tissue [n] may answer which query [n], bool [n, n].

    `tissues` has patient_id and original_file_name: images acquired into one file share a tissue
    microarray block, and with it their staining (T9).
    """
    patient = tissues["patient_id"].to_numpy(str)
    allowed = ~np.eye(len(tissues), dtype=bool)
    if exclude != "image":
        allowed &= patient[:, None] != patient
    if exclude == "block":
        block = tissues["original_file_name"].to_numpy(str)
        allowed &= block[:, None] != block
    return allowed


def drawn(allowed, seed, top=TOP):
    """Return `top` different allowed tissues of each query, drawn at random; -1 as in `closest`."""
    chances = np.where(allowed, np.random.default_rng(seed).random(allowed.shape), np.inf)
    # Equal chances do not happen, so that the few need no sort of all.
    few = np.argpartition(chances, min(top, len(allowed)) - 1, axis=1)[:, :top]
    chances, allowed = (np.take_along_axis(array, few, axis=1) for array in (chances, allowed))
    places = closest(chances, allowed, top)
    return np.where(places < 0, -1, np.take_along_axis(few, places, axis=1))


def found_tissues(table, tissues, exclude):
    """Return a match table as places in `tissues` [n, TOP], -1 where there is no match."""
    place = {tissue: i for i, tissue in enumerate(tissues.index)}
    found = np.full((len(tissues), TOP), -1)
    rows = table[table["exclude"] == exclude]
    found[rows["query"].map(place), rows["rank"] - 1] = rows["match"].map(place)
    return found


def hits(found, classes):
    """Return whether each retrieved tissue [q, top] has its query's class; q queries have one.

    A tissue without a class, or none retrieved, is a miss.
    """
    known = pd.notna(classes)
    retrieved = np.where(found >= 0, classes[found], None)
    same = retrieved == classes[:, None]
    return same[known].astype(bool)


def expected_precision(allowed, classes):
    """Return each labelled query's chance that a random allowed tissue has its class [q]."""
    known = pd.notna(classes)
    same = (classes[:, None] == classes) & known
    with np.errstate(invalid="ignore"):
        return ((same & allowed).sum(1) / allowed.sum(1))[known]


def mcnemar(ours, random):
    """Return McNemar's p without continuity correction of paired hits (Methods); 1 if all agree."""
    first, second = (ours & ~random).sum(), (random & ~ours).sum()
    if first + second == 0:
        return 1.0
    return float(chi2.sf((first - second) ** 2 / (first + second), 1))


def patient_interval(values, patients, repeats, seed):
    """Return the 95 % interval of a mean over queries [q], resampling their patients."""
    means = patient_means(values, patients, repeats, seed)
    return interval(means)


def patient_means(values, patients, repeats, seed):
    """Return bootstrap means of a value per query [q] over resampled patients, [repeats]."""
    codes, unique = pd.factorize(np.asarray(patients))
    sums, counts = np.bincount(codes, values, len(unique)), np.bincount(codes, None, len(unique))
    draws = resamples(len(unique), repeats, seed)
    return (draws @ sums) / np.maximum(draws @ counts, 1)


def clustered_p(differences, patients, repeats, seed):
    """Return a one-sided p that a mean difference [q] is above 0, patients resampled (T9).

    None where there are too few patients to resample.
    """
    means = patient_means(differences, patients, repeats, seed)
    return None if len(means) == 0 else (1 + (means <= 0).sum()) / (1 + len(means))
