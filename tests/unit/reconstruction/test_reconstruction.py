"""Masking tasks, baselines and pooled scores, on small truths worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.correlation import MOMENTS, moments
from workflow_scripts.reconstruction.evaluation import (
    Baselines,
    masking_tasks,
    pixel_mask,
    visible_mean,
)
from workflow_scripts.reconstruction.reconstruct import evaluate_tissue
from workflow_scripts.reconstruction.scores import (
    Scores,
    average,
    lead,
    with_whole_accession,
)

SETTINGS = {"crop": 64, "patch": 8, "mask_ratio": [0.6, 1.0], "batch": 5}
ACCESSIONS = ["P1", "P2", "P2", "P3"]


class Fake:
    """A tissue whose channels are given, all of it tissue."""

    id, patient_id, markers, accessions = "t", "p", ["a", "b1", "b2", "c"], ACCESSIONS

    def __init__(self, pixels):
        self.pixels = pixels

    def image(self, positions):
        return self.pixels[positions]

    def tissue_mask(self):
        return np.ones(self.pixels.shape[1:], bool)


class FakeCohort:
    def __init__(self, *tissues):
        self.train = tissues

    def tissues(self, split):
        assert split == "train"
        return self.train


class Oracle:
    """A model that sees everything and adds noise of a known size."""

    def __init__(self, noise):
        self.noise = noise

    def reconstruct(self, crops, accessions, masks):
        rng = np.random.default_rng(0)
        crops = np.stack(crops)
        return crops + rng.normal(0, self.noise, crops.shape)


def tissue(seed=0, side=130):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(4, side, side)).astype(np.float32)
    base[2] = base[1] + 0.1 * base[2]  # two channels of one protein
    base[3] = 0.5 * base[0] + base[3]
    return Fake(base)


def test_tasks_hide_what_their_strategy_says():
    tasks = list(masking_tasks("t 0 0", ACCESSIONS, 8, [0.6, 1.0], [0, 1]))
    assert [task.strategy for task in tasks] == [
        *("independent", "niche") * 2,
        "marker",
        "marker",
        "marker_all_of_accession",
        "marker",
        "marker_all_of_accession",
        "marker",
    ]
    for task in tasks[:4]:
        share = task.mask.mean(axis=(1, 2))
        assert (share >= 0.6).all() and task.channels == [0, 1, 2, 3]
        assert (task.strategy == "niche") == (task.mask == task.mask[0]).all()
    assert tasks[5].mask.any(axis=(1, 2)).tolist() == [False, True, False, False]
    assert tasks[6].mask.all(axis=(1, 2)).tolist() == [False, True, True, False]
    again = list(masking_tasks("t 0 0", ACCESSIONS, 8, [0.6, 1.0], [0, 1]))
    other = list(masking_tasks("t 0 64", ACCESSIONS, 8, [0.6, 1.0], [0, 1]))
    assert all((a.mask == b.mask).all() for a, b in zip(tasks, again, strict=True))
    assert (tasks[0].mask != other[0].mask).any() and (tasks[0].mask != tasks[2].mask).any()


def test_visible_mean_by_hand():
    crop = np.arange(32, dtype=float).reshape(2, 4, 4)
    hidden = np.zeros((2, 4, 4), bool)
    hidden[0, :, 1:] = True
    hidden[1] = True
    assert visible_mean(crop, hidden).tolist() == [6.0, 0.0]


def test_the_other_channel_of_an_accession_is_no_baseline_when_it_is_hidden_too():
    sample = tissue()
    baselines = Baselines(FakeCohort(sample), [0, 1, 2, 3], ACCESSIONS, 64, 0.3)
    assert baselines.best_other["marker"].tolist() == [3, 2, 1, 0]
    assert baselines.best_other["marker_all_of_accession"][1] in (0, 3)


def test_sums_give_the_r_of_all_hidden_pixels_at_once():
    sample, noise = tissue(), 0.7
    baselines = Baselines(FakeCohort(tissue(1)), [0, 1, 2, 3], ACCESSIONS, 64, 0.3)
    rows, scores = evaluate_tissue(
        Oracle(noise), baselines, sample, [0, 1, 2, 3], SETTINGS, [0], 0.3
    )
    keys = ["tissue_id", "patient_id", "strategy", "seed", "marker", "accession", "predictor"]
    table = Scores("c", pd.DataFrame(rows, columns=[*keys, *MOMENTS])).table()
    assert len(scores) == 4 * 4  # four crops of 64 px fit, four strategies
    # Signal of variance 1 with noise of variance 0.49: r = 1 / sqrt(1.49).
    assert table["independent", "a", "P1", "model"] == pytest.approx(1 / 1.49**0.5, abs=0.02)
    # The baseline of marker masking is the other channel itself.
    pixels = sample.pixels[:, :128, :128]
    copied = pearsonr(pixels[1].ravel(), pixels[2].ravel()).statistic
    assert table["marker", "b1", "P2", "baseline"] == pytest.approx(copied, abs=1e-6)


def test_an_all_zero_marker_has_no_r_and_is_not_averaged():
    sample = tissue()
    sample.pixels[3] = -0.25
    baselines = Baselines(FakeCohort(tissue(1)), [0, 1, 2, 3], ACCESSIONS, 64, 0.3)
    rows, _ = evaluate_tissue(Oracle(0.1), baselines, sample, [0, 1, 2, 3], SETTINGS, [0], 0.3)
    keys = ["tissue_id", "patient_id", "strategy", "seed", "marker", "accession", "predictor"]
    table = Scores("c", pd.DataFrame(rows, columns=[*keys, *MOMENTS])).table()
    assert np.isnan(table["niche", "c", "P3", "model"])
    assert lead(table, "niche")[2] == 3
    assert average([table])[0] > 0.9


def planted(r_by_patient, n=4000):
    """Moments of one marker whose r differs between patients."""
    rng, rows = np.random.default_rng(0), []
    for patient, r in r_by_patient.items():
        truth = rng.normal(size=n)
        guess = r * truth + (1 - r**2) ** 0.5 * rng.normal(size=n)
        for predictor, values in (("model", guess), ("baseline", rng.normal(size=n))):
            sums = moments(truth, values)
            rows.append(("t", patient, "niche", 0, "a", "P1", predictor, *sums))
    keys = ["tissue_id", "patient_id", "strategy", "seed", "marker", "accession", "predictor"]
    return pd.DataFrame(rows, columns=[*keys, *MOMENTS])


def test_the_interval_resamples_patients():
    scores = Scores("c", planted({"p1": 0.9, "p2": 0.5, "p3": 0.1}))
    draws = resamples(3, 400, 0)
    low, high = interval([lead(scores.table(draw), "niche")[0] for draw in draws])
    assert 0.1 < low < 0.3 and 0.7 < high <= 0.9 + 0.03
    assert lead(scores.table(), "niche")[0] == pytest.approx(0.5, abs=0.03)
    one = Scores("c", planted({"p1": 0.9}))
    assert len(resamples(len(one.patients), 400, 0)) == 0 and interval([]) == (None, None)


def test_a_marker_measured_twice_can_be_scored_with_all_its_channels_hidden():
    index = pd.MultiIndex.from_tuples(
        [
            ("marker", "b1", "P2", "model"),
            ("marker_all_of_accession", "b1", "P2", "model"),
            ("marker", "a", "P1", "model"),
        ],
        names=["strategy", "marker", "accession", "predictor"],
    )
    strict = with_whole_accession(pd.Series([0.99, 0.4, 0.6], index=index))
    assert strict["marker", "b1", "P2", "model"] == 0.4
    assert average([strict])[0] == pytest.approx(0.5)


def test_patches_become_squares_of_pixels():
    mask = np.array([[[True, False], [False, False]]])
    pixels = pixel_mask(mask, 3)
    assert pixels.shape == (1, 6, 6) and pixels[0, :3, :3].all() and pixels.sum() == 9
