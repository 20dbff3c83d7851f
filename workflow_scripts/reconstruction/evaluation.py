"""What is hidden from a model, and what its guess is held against (Results, Fig. 2; D2, D6)."""

import zlib
from dataclasses import dataclass

import numpy as np
import torch

from virtues_core import independent_mask, niche_mask
from workflow_scripts.common.correlation import channel_correlation, most_correlated_channel
from workflow_scripts.common.crops import tissue_grid

STRATEGIES = ("independent", "marker", "niche")


@dataclass
class Task:
    """One crop with some patches hidden; `channels` are the ones that are scored."""

    strategy: str
    seed: int | None  # None where nothing is drawn
    mask: np.ndarray  # [C, G, G] bool, True = hidden
    channels: list


def masking_tasks(crop_name, accessions, grid, ratio, seeds):
    """Yield every Task of one crop: both random strategies per seed, and each marker in turn.

    A marker that two channels measure leaks through the other one (D6): it is hidden alone as
    printed, and once more with all channels of its accession as `marker_all_of_accession`.
    """
    everything = list(range(len(accessions)))
    for seed in seeds:
        for strategy, draw in (("independent", independent_mask), ("niche", niche_mask)):
            # Named by the crop, so that every model is asked the same, in any order of tissues.
            name = f"{seed} {strategy} {crop_name}"
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            mask = draw(len(accessions), (grid, grid), ratio, generator).numpy()
            yield Task(strategy, seed, mask, everything)
    for channel, accession in enumerate(accessions):
        same = [i for i, other in enumerate(accessions) if other == accession]
        yield Task("marker", None, _hide(everything, [channel], grid), [channel])
        if len(same) > 1:
            strategy = "marker_all_of_accession"
            yield Task(strategy, None, _hide(everything, same, grid), [channel])


def _hide(channels, hidden, grid):
    mask = np.zeros((len(channels), grid, grid), bool)
    mask[hidden] = True
    return mask


def pixel_mask(mask, patch):
    """Blow a patch mask [..., G, G] up to pixels [..., S, S]."""
    return mask.repeat(patch, axis=-2).repeat(patch, axis=-1)


def visible_mean(crop, hidden):
    """Return each channel's mean over its visible pixels [C]; 0 where all are hidden (D2)."""
    visible = (~hidden).sum(axis=(1, 2))
    return np.where(visible > 0, (crop * ~hidden).sum(axis=(1, 2)) / np.maximum(visible, 1), 0.0)


class Baselines:
    """The best guess without a model: visible pixels' mean, or the most correlated channel."""

    def __init__(self, tissues, positions, accessions, size, min_coverage):
        """Correlate the model's channels over crops of training `tissues`, with the sign (D6).

        All have the same channels; without any tissue, no channel is a guess for another.
        """
        crops = (
            tissue.image(positions)[:, row : row + size, col : col + size]
            for tissue in tissues
            for row, col in tissue_grid(tissue.tissue_mask(), size, min_coverage)
        )
        correlation = channel_correlation(crops, len(positions))
        same = np.equal.outer(accessions, accessions)
        self.best_other = {
            "marker": most_correlated_channel(correlation),
            "marker_all_of_accession": most_correlated_channel(np.where(same, np.nan, correlation)),
        }

    def guess(self, task, crop, hidden):
        """Return the baseline's picture of every scored channel, [len(task.channels), S, S]."""
        if task.strategy in self.best_other:
            others = self.best_other[task.strategy][task.channels]
            return np.stack([crop[o] if o >= 0 else np.zeros_like(crop[0]) for o in others])
        means = visible_mean(crop, hidden)[task.channels]
        return np.broadcast_to(means[:, None, None], (len(task.channels), *crop.shape[1:]))
