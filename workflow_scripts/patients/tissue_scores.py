"""Macro-F1 of tissue classifiers, by image and by patient, and models compared (T7, T8)."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu

from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.scores import Confusion


def predicted_images(rows):
    """Return the most probable class of each image: a row per seed and tissue.

    `rows`: predictions of one task as rule classify_tissues writes them.
    """
    rows = rows.reset_index(drop=True)
    best = rows.loc[rows.groupby(["seed", "tissue_id"], sort=False)["probability"].idxmax()]
    return best.rename(columns={"class": "predicted"}).drop(columns="probability")


def predicted_patients(rows):
    """Return the most probable class of each patient, by the mean over images, for each seed (T8).

    Patients whose images have different classes are left out, as they have no class of their own.
    """
    one = rows.groupby("patient_id")["truth"].transform("nunique") == 1
    keys = ["seed", "patient_id", "truth", "class"]
    mean = rows[one].groupby(keys, sort=False, as_index=False)["probability"].mean()
    best = mean.loc[mean.groupby(["seed", "patient_id"], sort=False)["probability"].idxmax()]
    return best.rename(columns={"class": "predicted"}).drop(columns="probability")


def discordant_patients(rows):
    """Return how many patients have images of different classes."""
    return int((rows.groupby("patient_id")["truth"].nunique() > 1).sum())


def missing_classes(rows):
    """Return a sentence on the classes that the train or the test split lacks, "" if none."""
    learned, tested = set(rows["class"]), set(rows["truth"])
    parts = (("train", tested - learned), ("test", learned - tested))
    return "; ".join(
        f"no {split} image of {', '.join(sorted(lacking))}" for split, lacking in parts if lacking
    )


@dataclass
class Score:
    """Macro-F1 of one model on one task: of each seed, and resampled; 0 patients without any.

    `f1` [seeds]; `draws` [repeats]: means over seeds with patients resampled.
    """

    seeds: list
    f1: np.ndarray
    draws: np.ndarray
    patients: list

    @property
    def mean(self):
        """The mean over seeds."""
        return float(self.f1.mean()) if len(self.f1) else float("nan")

    @property
    def spread(self):
        """The standard deviation over seeds; None with fewer than two."""
        return float(self.f1.std(ddof=1)) if len(self.f1) > 1 else None


def score(predictions, repeats, seed):
    """Return the Score of predictions: seed, patient_id, truth, predicted, one row per image.

    The classes are those that the test images have; a prediction of any other is a miss. The draws
    of two models with the same patients use the same resamples, and so are paired.
    """
    tables = [
        Confusion(rows.assign(images=1), count="images")
        for _, rows in predictions.groupby("seed", sort=True)
    ]
    if not tables:
        return Score([], np.empty(0), np.empty(0), [])
    weights = resamples(len(tables[0].patients), repeats, seed)
    f1 = np.array([table.macro_f1() for table in tables])
    draws = np.mean([table.macro_f1(weights) for table in tables], axis=0)
    return Score(sorted(set(predictions["seed"])), f1, draws, tables[0].patients)


def compare(ours, theirs):
    """Return how much better one Score is than another of the same task.

    `gain`: per cent of theirs, with its interval; `mann_whitney_p`: one-sided, over seeds (D20);
    `bootstrap_p`: one-sided, that the difference of macro-F1 is above 0 when patients are
    resampled, the same for both (T7); None where there are too few.
    """
    paired = ours.patients == theirs.patients and len(ours.draws) > 0
    gains = relative_gain(ours.draws, theirs.draws) if paired else np.empty(0)
    low, high = interval(gains)
    lower = (ours.draws <= theirs.draws).sum() if paired else 0
    return {
        "gain": float(relative_gain(ours.mean, theirs.mean)),
        "gain_low": low,
        "gain_high": high,
        "difference": ours.mean - theirs.mean,
        "mann_whitney_p": mann_whitney(ours.f1, theirs.f1),
        "bootstrap_p": float((1 + lower) / (1 + len(ours.draws))) if paired else None,
    }


def relative_gain(ours, theirs):
    """Return by how many per cent `ours` exceeds `theirs`; NaN where that is 0."""
    theirs = np.where(np.equal(theirs, 0), np.nan, theirs)
    return 100 * (ours / theirs - 1)


def mann_whitney(ours, theirs):
    """Return the one-sided p of Mann-Whitney's U that `ours` are larger (D20); 1 if all are tied.

    SciPy chooses between the exact and the asymptotic distribution.
    """
    if len(set(np.concatenate([ours, theirs]))) == 1:
        return 1.0
    return float(mannwhitneyu(ours, theirs, alternative="greater", method="auto").pvalue)
