"""What a cell table tells about the cells of a mask, measured on the finished image."""

import numpy as np
from scipy.ndimage import distance_transform_edt


def areas(mask):
    """Return the pixels of every cell [n] of `mask` [H, W] with labels 1..n."""
    return np.bincount(mask.ravel())[1:]


def centroids(mask):
    """Return x and y [n] of every cell in pixels, 0 = centre of the first pixel."""
    size = areas(mask)
    rows, columns = np.indices(mask.shape)
    x = np.bincount(mask.ravel(), columns.ravel())[1:] / size
    y = np.bincount(mask.ravel(), rows.ravel())[1:] / size
    return x, y


def mean_counts(mask, image):
    """Return the mean of every channel of `image` [C, H, W] in every cell: [n, C]."""
    sums = [np.bincount(mask.ravel(), channel.ravel())[1:] for channel in image]
    return np.stack(sums, axis=1) / areas(mask)[:, None]


def each_cell(tissues):
    """Yield (index of the tissue, label, x, y, area in px, cell type) of every cell."""
    for index, tissue in enumerate(tissues):
        x, y = centroids(tissue.cell_mask)
        facts = zip(x.tolist(), y.tolist(), areas(tissue.cell_mask).tolist(), strict=True)
        for label, (fact, name) in enumerate(zip(facts, tissue.types, strict=True), start=1):
            yield index, label, *fact, name


def neighbours(mask, reach):
    """Return the pairs of cells that come within `reach` pixels of each other: [n, 2] labels.

    Every pair is there twice, once from each side, sorted.
    """
    height, width = mask.shape
    labels = mask.astype(np.int64)
    pairs, base = [], labels.max() + 1
    for dy in range(reach + 1):
        for dx in range(-reach, reach + 1):
            if np.hypot(dy, dx) > reach:
                continue
            here = labels[: height - dy, max(-dx, 0) : width - max(dx, 0)]
            there = labels[dy:, max(dx, 0) : width + min(dx, 0)]
            touching = (here != there) & (here > 0) & (there > 0)
            pairs.append(np.unique(here[touching] * base + there[touching]))
    first, second = np.divmod(np.concatenate(pairs), base)
    both = np.concatenate([first * base + second, second * base + first])
    return np.stack(np.divmod(np.unique(both), base), axis=1)


def neighbour_counts(mask, reach):
    """Return for every cell [n] how many others come within `reach` pixels of it."""
    return np.bincount(neighbours(mask, reach)[:, 0], minlength=int(mask.max()) + 1)[1:]


def near_border(region, mask, distance):
    """Return for every cell [n] whether its centre is within `distance` px of `region`'s border."""
    x, y = centroids(mask)
    depth = np.where(region, distance_transform_edt(region), distance_transform_edt(~region))
    return depth[y.round().astype(int), x.round().astype(int)] <= distance
