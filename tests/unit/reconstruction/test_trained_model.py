"""A small VirTues trained for seconds on planted images: what it learns, and what it cannot."""

import numpy as np
import pytest
import torch

from virtues_core import VirTues, VirTuesConfig, independent_mask, loss
from workflow_scripts.common.virtues_embedder import VirTuesEmbedder
from workflow_scripts.reconstruction.evaluation import Baselines
from workflow_scripts.reconstruction.reconstruct import evaluate_tissue
from workflow_scripts.reconstruction.scores import Scores

MARKERS = ["a", "b", "c", "d", "e", "x_noise"]
CROP, GRID, PATCH = 16, 2, 8
CONFIG = VirTuesConfig(
    width=32, feedforward=64, heads=2, encoder="hv", decoder="f", patch=PATCH, marker_width=8
)
SETTINGS = {"crop": CROP, "patch": PATCH, "mask_ratio": [0.6, 1.0], "batch": 64, "stride": CROP}
NOISE, STEPS = 0.3, 150  # sd of each pixel; of training


def planted(rows, cols, seed):
    """Return an image [6, 8 * rows, 8 * cols]: five markers of one factor and a marker of its own.

    A patch is as bright as its factor, and half of its variance is the marker's own.
    """
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(rows, cols)) * (np.arange(len(MARKERS)) < 5)[:, None, None]
    patches = factor + rng.normal(size=(len(MARKERS), rows, cols))
    image = patches.repeat(PATCH, axis=1).repeat(PATCH, axis=2)
    return (image + NOISE * rng.normal(size=image.shape)).astype(np.float32)


class Tissue:
    """A planted image, all of it tissue."""

    id, patient_id, markers, accessions = "t", "p", MARKERS, MARKERS

    def __init__(self, seed):
        self.pixels = planted(20, 20, seed)

    def image(self, positions):
        return self.pixels[positions]

    def tissue_mask(self):
        return np.ones(self.pixels.shape[1:], bool)


@pytest.fixture(scope="module")
def scores():
    """Return r of every marker by (strategy, predictor), on an image that training did not see."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = VirTues(CONFIG, torch.randn(len(MARKERS), CONFIG.marker_width))
    optimizer = torch.optim.AdamW(model.parameters())
    channels, generator = [torch.arange(len(MARKERS))] * 32, torch.Generator().manual_seed(0)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 5e-3 * min(1, (step + 1) / 20) * (1 - step / STEPS)
        wide = torch.from_numpy(planted(GRID, 32 * GRID, 100 + step))
        crops = list(wide.split(CROP, dim=2))
        # Less is hidden than in a study, so that seconds are enough.
        masks = [independent_mask(len(MARKERS), (GRID, GRID), (0.0, 0.6), generator) for _ in crops]
        optimizer.zero_grad()
        loss(model(crops, channels, masks), crops).backward()
        optimizer.step()
    embedder = VirTuesEmbedder("virtues", model.eval(), MARKERS, SETTINGS)
    places, thresholds = list(range(len(MARKERS))), np.zeros(len(MARKERS))
    baselines = Baselines([Tissue(1)], places, MARKERS, CROP, 0.3)
    rows, _ = evaluate_tissue(
        embedder, baselines, thresholds, Tissue(2), places, SETTINGS, [0, 1], 0.3
    )
    table = Scores("c", rows)
    return {
        (strategy, predictor): table.values()[table.places(strategy, predictor)]
        for strategy in ("independent", "marker", "niche")
        for predictor in ("model", "baseline")
    }


def test_a_hidden_marker_is_inferred_from_all_that_share_its_information(scores):
    model, copied = scores["marker", "model"], scores["marker", "baseline"]
    # One other marker shares half of the variance; four of them tell the factor better.
    np.testing.assert_allclose(copied[:5], 0.5, atol=0.1)
    assert model[:5].mean() > copied[:5].mean() + 0.05, (model, copied)
    assert abs(model[5]) < 0.12


def test_hidden_patches_are_inferred_from_other_markers_at_their_place(scores):
    model, visible = scores["independent", "model"], scores["independent", "baseline"]
    assert model[:5].mean() > visible[:5].mean() + 0.08, (model, visible)
    assert abs(model[5]) < 0.12


def test_what_no_marker_shows_cannot_be_inferred(scores):
    # A place tells nothing of those around it, and niche masking hides it in every marker.
    assert (np.abs(scores["niche", "model"]) < 0.12).all()
