"""Pixels of an archive brought to 1 um per pixel, and the cells in a mask."""

import numpy as np
import pandas as pd

from workflow_scripts.common.errors import InputError


def block_size(pixel_size, where):
    """Return how many pixels of `pixel_size` um make 1 um; InputError unless a whole number."""
    block = round(1 / pixel_size)
    if block < 1 or abs(block * pixel_size - 1) > 1e-6:
        raise InputError(
            f"{where}: pixel_size is {pixel_size} um; expected 1 um or a whole fraction of it "
            "(0.5, 0.25, ...), because pixels are summed in whole blocks; resample the images."
        )
    return block


def clean(image):
    """Return `image` with pixels that are no counts (negative, not finite) as 0, and how many."""
    bad = ~(image >= 0) | np.isinf(image)
    count = int(bad.sum())
    return (np.where(bad, np.float32(0), image) if count else image), count


def sum_blocks(image, block):
    """Return `image` [C, H, W] with blocks of `block` x `block` pixels summed.

    Counts stay counts. Rows and columns that fill no block are cut.
    """
    if block == 1:
        return image
    height, width = (side // block for side in image.shape[1:])
    cut = image[:, : height * block, : width * block]
    return cut.reshape(-1, height, block, width, block).sum(axis=(2, 4), dtype=np.float32)


def stride_blocks(mask, block):
    """Return `mask` [H, W] with the pixel at the centre of each block: labels stay labels."""
    height, width = (side // block for side in mask.shape)
    return mask[block // 2 :: block, block // 2 :: block][:height, :width]


def to_micrometre(coordinates, block):
    """Return pixel coordinates (array; 0 = centre of the first) on the grid of summed blocks."""
    return (coordinates + 0.5) / block - 0.5


def centroids(mask):
    """Return a table of the cells in `mask` [H, W]: cell_id, x, y (pixels, centre of mass)."""
    labels, index, counts = np.unique(mask, return_inverse=True, return_counts=True)
    rows, columns = np.indices(mask.shape)
    table = pd.DataFrame(
        {
            "cell_id": labels.astype(np.int64),
            "x": np.bincount(index.ravel(), columns.ravel()) / counts,
            "y": np.bincount(index.ravel(), rows.ravel()) / counts,
        }
    )
    return table[table["cell_id"] > 0].reset_index(drop=True)
