"""What evaluation code knows of a model: the `Embedder` protocol, and the plainest one."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass
class Tokens:
    """Tokens of one tissue: n niches of G x G patches, k cells, width D; all float32.

    A level that the model does not have is None.
    """

    patch: np.ndarray | None  # [n, G, G, D]
    niche: np.ndarray | None  # [n, D]
    cell_ids: np.ndarray | None  # [k] labels in the instance mask, ascending
    cells: np.ndarray | None  # [k, D]


class Embedder(Protocol):
    """A model as the evaluations see it; none of them asks which one it is."""

    name: str

    def usable(self, accessions):
        """Return the positions of the channels that the model can read, and why not the rest."""

    # A model whose niche tokens are components of a cohort also has `fit_niches`, how many of the
    # train split they are learned from at most, `seed`, and `fit(niches, panel)`; before that it
    # has no niche tokens.

    def embed(self, image, accessions, origins, labels):
        """Return the Tokens of an image [C, H, W].

        `accessions`: one per channel; `origins`: (row, col) of each niche crop; `labels` [H, W]:
        instance mask, or None for no cells.
        """


def open_embedder(name, model_folder, embeddings, settings, device):
    """Return the embedder called `name`: a baseline, a rival, or an instance from its folder.

    `settings`: crop, patch and stride in px, batch in crops; for a rival also `rival`, its section
    of the settings, and for ResNet-50 `weights`.
    """
    if name == MeanIntensity.name:
        return MeanIntensity(settings["crop"], settings["patch"])
    # Loaded here, since importing torch costs seconds that a baseline's job need not pay.
    if name == "resnet50":
        from workflow_scripts.common.rivals.resnet50 import open_resnet50

        return open_resnet50(settings, device)
    if name in ("camae", "kronos"):
        from workflow_scripts.common.rivals.token_embedders import open_token_embedder

        return open_token_embedder(name, model_folder, settings, device)
    from workflow_scripts.common.virtues_embedder import VirTuesEmbedder, open_model

    model, accessions = open_model(model_folder, embeddings, device)
    return VirTuesEmbedder(name, model, accessions, settings)


class MeanIntensity:
    """Baseline: the mean standardised intensity of every channel (D9)."""

    name = "mean_intensity"
    per_channel = True  # a column of its tokens is a channel

    def __init__(self, crop, patch):
        self.crop, self.patch = crop, patch

    def usable(self, accessions):
        """Return every channel; nothing is left out."""
        return list(range(len(accessions))), ""

    def embed(self, image, accessions, origins, labels):
        """Return means over patches, niches and cells; the width is the number of channels."""
        grid = self.crop // self.patch
        crops = [image[:, r : r + self.crop, c : c + self.crop] for r, c in origins]
        crops = np.stack(crops) if crops else np.empty((0, len(image), self.crop, self.crop))
        tiles = crops.reshape(len(crops), len(image), grid, self.patch, grid, self.patch)
        patch = tiles.mean(axis=(3, 5), dtype=np.float32).transpose(0, 2, 3, 1)
        ids, cells = mean_over_cells(image, labels)
        return Tokens(patch, patch.mean(axis=(1, 2)), ids, cells)


def mean_over_cells(image, labels):
    """Return cell ids [k] and the mean of each channel over each cell's pixels [k, C]."""
    if labels is None or not labels.any():
        return np.empty(0, np.int64), np.empty((0, len(image)), np.float32)
    ids, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = [np.bincount(inverse.ravel(), channel.ravel(), len(ids)) for channel in image]
    means = (np.stack(sums, axis=1) / counts[:, None]).astype(np.float32)
    cells = ids != 0
    return ids[cells].astype(np.int64), means[cells]
