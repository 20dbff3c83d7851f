"""Crops of tissues: the grids that are evaluated, and the random ones that are trained on.

Nothing here imports torch; `TrainingCrops` is what a torch DataLoader accepts as a dataset.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.model_ready import ModelReadyImage


def coverage(tissue, rows, cols, height, width):
    """Return the share of tissue [n] in windows of `height` x `width` at `rows`, `cols` [n]."""
    sums = np.zeros((tissue.shape[0] + 1, tissue.shape[1] + 1), dtype=np.int64)
    sums[1:, 1:] = tissue.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    bottom, right = np.add(rows, height), np.add(cols, width)
    inside = sums[bottom, right] - sums[rows, right] - sums[bottom, cols] + sums[rows, cols]
    return inside / (height * width)


def grid_crops(height, width, side):
    """Return the origins (row, col) [n, 2] of crops side by side; what is left over is not used."""
    rows, cols = np.arange(height // side) * side, np.arange(width // side) * side
    return np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)


def tissue_grid(tissue, side, min_coverage):
    """Return those of `grid_crops` of which at least `min_coverage` is tissue [H, W] bool."""
    origins = grid_crops(*tissue.shape, side)
    return origins[coverage(tissue, *origins.T, side, side) >= min_coverage]


@dataclass(frozen=True, eq=False)
class Tissue:
    """A model-ready image seen through a table of marker embeddings."""

    image: ModelReadyImage
    channels: np.ndarray  # [C] places in the image of the channels that have an embedding
    ids: np.ndarray  # [C] int64, their rows in the table
    markers: tuple  # [C] their names
    skipped: int  # channels without an embedding

    @property
    def shape(self):
        """Height and width in pixels."""
        return self.image.shape[1:]

    def crop(self, row, col, height, width):
        """Return the window [C, height, width] float32."""
        out = np.empty((len(self.channels), height, width), dtype=np.float32)
        self.image.read_into(out, row, col, self.channels)
        return out


def open_tissue(cohort_folder, tissue_id, accessions):
    """Open a tissue of a published cohort without reading its pixels.

    `accessions`: those of the marker embeddings, in the order of the table's rows. Two channels
    may share one.
    """
    image = ModelReadyImage.open(Path(cohort_folder) / "model_ready" / f"{tissue_id}.zarr")
    rows = {accession: row for row, accession in enumerate(accessions)}
    channels = [c for c, accession in enumerate(image.accessions) if accession in rows]
    return Tissue(
        image,
        np.array(channels, dtype=np.int64),
        np.array([rows[image.accessions[c]] for c in channels], dtype=np.int64),
        tuple(image.markers[c] for c in channels),
        len(image.accessions) - len(channels),
    )


class TrainingCrops:
    """An endless stream of augmented training crops; `n_sub_images` of them make one epoch.

    `crops[n]` is crop n of the stream: (image [C, side, side] float16, ids [C] int64). Each epoch
    of the stream visits every sub-image of every cohort once, in an order of its own. What a crop
    is depends on (seed, epoch, sub-image) alone: a run that resumes at crop n with the sampler
    `range(n, total)` sees what it would have seen, with any number of workers. Steps as in the
    paper ("Data augmentation").
    """

    def __init__(self, cohort_folders, accessions, side, channel_dropout, seed):
        """Collect the sub-images of the training tissues of the published cohorts.

        `accessions`: those of the marker embeddings, in the order of their rows; `side`: of a
        crop, px; `channel_dropout` = (low, high), bounds of the share of channels left out.
        Raises InputError if a sub-image is smaller than a crop, or a crop may lose all channels.
        """
        if not 0 <= channel_dropout[0] <= channel_dropout[1] < 1:
            raise InputError(
                f"pretrain.channel_dropout: shares from {channel_dropout[0]} to "
                f"{channel_dropout[1]}, expected a range within 0 and 1, of which 1 would leave a "
                "crop without channels; lower its upper bound below 1"
            )
        self.accessions, self.side = tuple(accessions), side
        self.channel_dropout, self.seed = channel_dropout, seed
        self.folders = [Path(folder) for folder in cohort_folders]
        tables = [_sub_images(folder, side) for folder in self.folders]
        self.cohort = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        table = pd.concat(tables, ignore_index=True)
        self.tissue_ids = table["tissue_id"].to_numpy(dtype=object)
        self.windows = table[["row", "col", "height", "width"]].to_numpy(dtype=np.int64)
        self.n_sub_images = len(table)
        self._tissues = {}
        self._order = (-1, None)

    def __len__(self):
        """Return the number of crops in one epoch."""
        return self.n_sub_images

    def locate(self, n):
        """Return (epoch, index of the sub-image) of crop `n` of the stream."""
        if self.n_sub_images == 0 or n < 0:
            raise IndexError(f"no crop {n} in a stream over {self.n_sub_images} sub-images")
        epoch, place = divmod(n, self.n_sub_images)
        if self._order[0] != epoch:
            rng = np.random.default_rng((self.seed, epoch, 0))
            self._order = (epoch, rng.permutation(self.n_sub_images))
        return epoch, int(self._order[1][place])

    def __getitem__(self, n):
        """Return crop `n` of the stream: image [C, side, side] float16, ids [C] int64.

        As float16, as it is stored, it is half the bytes to pack and to move. Raises InputError
        if a pixel is NaN or infinite.
        """
        image, tissue, keep = self.read(
            n, lambda tissue, rng: kept_channels(len(tissue.ids), self.channel_dropout, rng)
        )
        return image, tissue.ids[keep]

    def read(self, n, choose):
        """Return crop `n`: image [K, side, side] float16, its Tissue and the K channels kept.

        `choose(tissue, rng)` returns which of the tissue's channels are read, and in which order.
        """
        epoch, index = self.locate(n)
        rng = np.random.default_rng((self.seed, epoch, 1 + index))  # 0 is the epoch's order
        tissue = self._tissue(index)
        row, col, height, width = self.windows[index].tolist()
        row += int(rng.integers(height - self.side + 1))
        col += int(rng.integers(width - self.side + 1))
        turns, flip = int(rng.integers(4)), rng.random() < 0.5
        keep = choose(tissue, rng)
        image = np.empty((len(keep), self.side, self.side), dtype=np.float16)
        # The crop is read through the inverse of its symmetry: no second pass over the pixels.
        tissue.image.read_into(undone_symmetry(image, turns, flip), row, col, tissue.channels[keep])
        # All exponent bits are set in NaN and infinity alone; np.isfinite is slow in float16.
        if (image.view(np.uint16) & 0x7FFF).max() >= 0x7C00:
            self._refuse(n, index, [tissue.markers[c] for c in keep], image)
        return image, tissue, keep

    def panel_sizes(self):
        """Return how many channels have an embedding, [n_sub_images], by cohort.

        Of one tissue of each cohort, which is near enough to deal the work by.
        """
        _, first, cohort = np.unique(self.cohort, return_index=True, return_inverse=True)
        return np.array([len(self._tissue(index).ids) for index in first])[cohort]

    def tissues(self):
        """Yield (which sub-images it has, [n] int64; the Tissue) for all tissues."""
        keys = {}
        for index, key in enumerate(zip(self.cohort, self.tissue_ids, strict=True)):
            keys.setdefault(key, []).append(index)
        for indices in keys.values():
            yield np.array(indices), self._tissue(indices[0])

    def restrict(self, fits):
        """Leave out the tissues for which `fits(tissue)` is False; return how many those are."""
        told = [(indices, fits(tissue)) for indices, tissue in self.tissues()]
        kept = np.sort(np.concatenate([np.empty(0, int), *(i for i, fit in told if fit)]))
        self.cohort, self.tissue_ids = self.cohort[kept], self.tissue_ids[kept]
        self.windows, self.n_sub_images = self.windows[kept], len(kept)
        return sum(not fit for _, fit in told)

    def _refuse(self, n, index, markers, image):
        odd = next(m for m, c in zip(markers, image, strict=True) if not np.isfinite(c).all())
        folder, tissue_id = self.folders[self.cohort[index]], self.tissue_ids[index]
        raise InputError(
            f"{folder / 'model_ready' / tissue_id}.zarr: crop {n} (cohort {folder.name}, tissue "
            f"{tissue_id}) has pixels of marker {odd} that are NaN or infinite, expected finite "
            f"numbers; delete {folder / 'model_ready'} and run preprocess again"
        )

    def _tissue(self, index):
        key = self.cohort[index], self.tissue_ids[index]
        if key not in self._tissues:
            folder = self.folders[key[0]]
            tissue = open_tissue(folder, key[1], self.accessions)
            if len(tissue.ids) == 0:
                raise InputError(
                    f"{folder}: none of the {tissue.skipped} channels of tissue {key[1]} has a "
                    "marker embedding; check the accessions of the cohort's panel"
                )
            self._tissues[key] = tissue
        return self._tissues[key]


def undone_symmetry(image, turns, flip):
    """Return the view of `image` [C, S, S] that becomes `image` by quarter `turns`, then `flip`."""
    flipped = image[:, :, ::-1] if flip else image
    return np.rot90(flipped, -turns, axes=(1, 2))


def kept_channels(channels, dropout, rng):
    """Return which of `channels` stay, in random order: ceil(C (1 - r)) with r ~ U(dropout)."""
    kept = int(np.ceil(channels * (1 - rng.uniform(*dropout))))
    return rng.permutation(channels)[:kept]


def _sub_images(folder, side):
    tissues = pd.read_parquet(folder / "metadata" / "tissues.parquet")
    train = tissues.loc[tissues["split"] == "train", "tissue_id"]
    table = pd.read_parquet(folder / "sub_images.parquet")
    table = table[table["tissue_id"].isin(train)]
    small = table[table[["height", "width"]].min(axis=1) < side]
    if len(small):
        worst = small.iloc[0]
        raise InputError(
            f"{folder / 'sub_images.parquet'}: tissue {worst.tissue_id} has a sub-image of "
            f"{worst.height} x {worst.width} px, in which a crop of {side} px does not fit; "
            "lower the crop or raise the smallest side of an image"
        )
    return table
