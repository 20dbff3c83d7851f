"""Cell tokens: summary tokens of overlapping crops, averaged over the pixels of each cell.

Legend: n crops, (G, K) patch grid of a crop, D model width.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from virtues_core.model import VirTues


def cell_tokens(
    model: VirTues, image, channels, labels, tile: int = 128, stride: int = 42, batch: int = 16
) -> tuple[Tensor, Tensor]:
    """Return the cells of an image and their tokens (Methods, "Aggregation into cell-, ...").

    Takes an image [C, H, W], its channels' marker rows [C] and labels of cells [H, W], tensors or
    arrays; `tile` and `stride` of the crops are in pixels, and `batch` crops are computed
    together. Returns labels in ascending order, int64 [cells], and float32 tokens [cells, D], on
    the CPU; without cells both are empty. Raises ValueError when image, labels and crops do not
    fit. To keep the crops' own tokens too, use `encode_tiles` and `CellPool` as done here.
    """
    if tuple(labels.shape) != tuple(image.shape[1:]):
        raise ValueError(
            f"labels of {list(labels.shape)} pixels do not fit an image of "
            f"{list(image.shape[1:])} pixels."
        )
    pool = CellPool(labels, model.config.width, model.config.patch)
    for origins, summary in encode_tiles(model, image, channels, tile, stride, batch):
        pool.add(origins, summary)
    return pool.ids, pool.tokens()


def tile_origins(height: int, width: int, tile: int, stride: int) -> Tensor:
    """Return the top left corners of the crops that cover an image, int64 [n, 2] in pixels.

    Crops start at multiples of `stride`; where the last one does not end at the border, one more
    does. Corners are in row-major order. Raises ValueError when crops cannot cover the image.
    """
    if min(height, width) < tile:
        raise ValueError(
            f"an image of {height} x {width} pixels is smaller than a crop of {tile} x {tile}."
        )
    if not 1 <= stride <= tile:
        raise ValueError(f"the stride must be 1 to {tile}, the side of a crop, not {stride}.")
    rows, cols = ([*range(0, side - tile, stride), side - tile] for side in (height, width))
    return torch.cartesian_prod(torch.tensor(rows), torch.tensor(cols))


def encode_tiles(
    model: VirTues, image, channels, tile: int, stride: int, batch: int = 16
) -> Iterator[tuple[Tensor, Tensor]]:
    """Encode the overlapping crops of an image [C, H, W], each by itself and nothing hidden.

    Yields, for `batch` crops at a time, their origins, int64 [n, 2] in pixels, and their summary
    tokens, float32 [n, G, K, D], on the CPU. How many are computed together changes no number.
    """
    for origins in tile_origins(*image.shape[1:], tile, stride).split(batch):
        crops = [image[:, y : y + tile, x : x + tile] for y, x in origins.tolist()]
        yield origins, _encode(model, crops, [channels] * len(crops))


def _encode(model: VirTues, crops: list, channels: list) -> Tensor:
    training = model.training
    try:
        with torch.no_grad():
            return model.eval().encode_summaries(crops, channels).float().cpu()
    finally:
        model.train(training)


class CellPool:
    """Weighted mean of summary tokens for each cell, over all patches of all crops together.

    A token weighs as much as its patch has pixels of the cell. `ids` are the labels of the cells,
    ascending int64 [cells]. Raises ValueError unless labels are integers, 0 (no cell) or more.
    """

    def __init__(self, labels, width: int, patch: int):
        labels = np.asarray(labels)
        if not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
            raise ValueError("labels of cells must be integers, 0 (no cell) or more.")
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.patch = patch
        self.ids = self.labels[self.labels > 0].unique()
        # float64, so that the order of crops does not show in the result.
        self._sums = torch.zeros(len(self.ids), width, dtype=torch.float64)
        self._pixels = torch.zeros(len(self.ids), 1, dtype=torch.float64)

    def add(self, origins: Tensor, summary: Tensor) -> None:
        """Add crops, given as in `encode_tiles`: origins [n, 2] and summary [n, G, K, D]."""
        rows, cols = (side * self.patch for side in summary.shape[1:3])
        for (y, x), grid in zip(origins.tolist(), summary, strict=True):
            cell, position, pixels = self._overlaps(self.labels[y : y + rows, x : x + cols])
            tokens = grid.flatten(0, 1)[position].double()
            self._sums.index_add_(0, cell, tokens * pixels)
            self._pixels.index_add_(0, cell, pixels)

    def tokens(self) -> Tensor:
        """Return the cells' tokens, float32 [cells, D]; NaN for a cell that no crop has met."""
        return (self._sums / self._pixels).float()

    def _overlaps(self, crop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return cell [pairs], grid position [pairs] and shared pixels [pairs, 1] in a crop."""
        height, width = crop.shape
        row, col = torch.arange(height) // self.patch, torch.arange(width) // self.patch
        position = row[:, None] * (width // self.patch) + col
        inside = crop > 0
        cell = torch.searchsorted(self.ids, crop[inside])
        pairs = cell * position.numel() + position[inside]  # one number for cell and position
        pairs, pixels = pairs.unique(return_counts=True)
        cell, position = pairs // position.numel(), pairs % position.numel()
        return cell, position, pixels[:, None].double()
