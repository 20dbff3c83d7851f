"""Masking tasks, baselines and pooled scores, on small truths worked out by hand."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from workflow_scripts.reconstruction.evaluation import (
    Baselines,
    masking_tasks,
    pixel_mask,
    visible_mean,
)
from workflow_scripts.reconstruction.reconstruct import evaluate_tissue
from workflow_scripts.reconstruction.scores import Scores, average, counts, means

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
    baselines = Baselines([sample], [0, 1, 2, 3], ACCESSIONS, 64, 0.3)
    assert baselines.best_other["marker"].tolist() == [3, 2, 1, 0]
    assert baselines.best_other["marker_all_of_accession"][1] in (0, 3)


def evaluated(model, sample):
    """Scores of a model on one tissue whose channels are also what the baselines learn from."""
    channels = list(range(len(sample.accessions)))
    baselines = Baselines([tissue(1)], channels, ACCESSIONS, 64, 0.3)
    thresholds = sample.pixels.mean(axis=(1, 2))
    rows, crops = evaluate_tissue(
        model, baselines, thresholds, sample, channels, SETTINGS, [0], 0.3
    )
    return Scores("c", rows), crops


def value(scores, *key):
    """One r: key = strategy, marker, predictor."""
    keys = scores.keys[["strategy", "marker", "predictor"]].itertuples(index=False, name=None)
    return scores.values()[list(keys).index(key)]


def test_sums_give_the_r_of_all_hidden_pixels_at_once():
    sample = tissue()
    scores, crops = evaluated(Oracle(0.7), sample)
    assert len(crops) == 4 * 4  # four crops of 64 px fit, four strategies
    # Signal of variance 1 with noise of variance 0.49: r = 1 / sqrt(1.49).
    assert value(scores, "independent", "a", "model") == pytest.approx(1 / 1.49**0.5, abs=0.02)
    # The baseline of marker masking is the other channel itself.
    pixels = sample.pixels[:, :128, :128]
    copied = pearsonr(pixels[1].ravel(), pixels[2].ravel()).statistic
    assert value(scores, "marker", "b1", "baseline") == pytest.approx(copied, abs=1e-6)


def test_a_constant_marker_has_no_score_is_not_averaged_and_is_counted():
    sample = tissue()
    sample.pixels[3] = -0.25
    scores, _ = evaluated(Oracle(0.1), sample)
    assert np.isnan(value(scores, "niche", "c", "model"))
    assert counts(scores, "niche") == counts(scores, "niche", "f1") == (3, 1)
    assert average([scores], [None])[0] > 0.9 and means(scores, "niche")[0] > 0.9


def test_a_marker_measured_twice_leaks_unless_its_other_channel_is_hidden_too():
    scores, _ = evaluated(Regression(), tissue())
    printed, strict = (scores.values()[scores.places("marker", strict=s)] for s in (False, True))
    markers = list(scores.keys.loc[scores.places("marker"), "marker"])
    assert markers == ["a", "b1", "b2", "c"]
    assert printed[1] > 0.9 and abs(strict[1]) < 0.1
    assert printed[0] == strict[0] and printed[3] == strict[3]


class Regression:
    """A model that guesses a hidden channel from the visible ones, as the planted truth allows."""

    def reconstruct(self, crops, accessions, masks):
        crops, masks = np.stack(crops), np.stack(masks)
        guesses = np.zeros_like(crops)
        for crop, mask, guess in zip(crops, masks, guesses, strict=True):
            pixels = crop.reshape(len(crop), -1).astype(float)
            seen = ~pixel_mask(mask, 8).reshape(len(crop), -1)
            for channel in range(len(crop)):
                others = np.where(seen, pixels, 0)
                others[channel] = 1.0
                weights = np.linalg.lstsq(others.T, pixels[channel], rcond=None)[0]
                guess[channel] = (weights @ others).reshape(crop.shape[1:])
        return guesses


class Nothing:
    """A broken model: one grey picture whatever it sees."""

    def reconstruct(self, crops, accessions, masks):
        return np.zeros_like(np.stack(crops))


def shared_factor(seed=0):
    """Three channels of one factor with noise of their own, and one of noise alone."""
    sample = tissue(seed)
    rng = np.random.default_rng(seed + 10)
    factor = rng.normal(size=sample.pixels.shape[1:])
    sample.pixels = rng.normal(size=(4, *factor.shape)).astype(np.float32)
    sample.pixels[:3] = factor + 0.8 * sample.pixels[:3]
    return sample


def test_shared_information_is_above_both_baselines_and_noise_is_not(monkeypatch):
    monkeypatch.setattr(Fake, "accessions", ["P1", "P2", "P4", "P3"])
    sample = shared_factor()
    channels = [0, 1, 2, 3]
    baselines = Baselines([shared_factor(1)], channels, Fake.accessions, 64, 0.3)
    tables = {}
    for name, model in (("good", Regression()), ("broken", Nothing())):
        rows, _ = evaluate_tissue(
            model, baselines, np.zeros(4), sample, channels, SETTINGS, [0, 1], 0.3
        )
        tables[name] = Scores("c", rows)
    for strategy in ("independent", "marker"):
        model, baseline = (
            tables["good"].values()[tables["good"].places(strategy, p)]
            for p in ("model", "baseline")
        )
        assert (model[:3] > baseline[:3] + 0.05).all() and abs(model[3]) < 0.05
        broken = means(tables["broken"], strategy)
        assert broken[0] == 0 and broken[0] <= broken[1] + 0.01


def test_patches_become_squares_of_pixels():
    mask = np.array([[[True, False], [False, False]]])
    pixels = pixel_mask(mask, 3)
    assert pixels.shape == (1, 6, 6) and pixels[0, :3, :3].all() and pixels.sum() == 9
