"""Cell tokens of one image from the summary tokens of its overlapping crops, on one core.

    python -m benchmarks.cells [--dry] [--mask cell_mask.npz]

Aggregation alone: crops of 128 px every 42 px over 600 x 700 px with 2,200 cells, or over a mask of
your own (key `mask`, 0 is background), tokens of width 512. Beside it the plain way: every pixel of
a cell takes its patch's token, and cells their mean.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import append, best_of, one_core
from virtues_core.cells import CellPool, tile_origins

HEIGHT, WIDTH, CELLS, TILE, STRIDE, PATCH, TOKEN = 600, 700, 2200, 128, 42, 8, 512


def seeded_labels():
    """Return a mask [600, 700] of 2,200 cells: the pixels nearest to seeded centres, in part."""
    rng = np.random.default_rng(0)
    centres = rng.uniform((0, 0), (HEIGHT, WIDTH), (CELLS, 2))
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    nearest, shortest = np.zeros((HEIGHT, WIDTH), int), np.full((HEIGHT, WIDTH), 6.0)
    for label, (y, x) in enumerate(centres, start=1):
        distance = np.hypot(rows - y, cols - x)
        closer = distance < shortest
        nearest[closer], shortest[closer] = label, distance[closer]
    return nearest


def pooled(labels, origins, summary):
    """Return the cells' tokens as the model's own code makes them."""
    pool = CellPool(labels, TOKEN, PATCH)
    pool.add(origins, summary)
    return pool.tokens()


def by_pixel(labels, origins, summary):
    """Return the same, with a token for every pixel of every crop."""
    labels = torch.from_numpy(labels)
    sums = torch.zeros(labels.max() + 1, TOKEN, dtype=torch.float64)
    pixels = torch.zeros(len(sums), 1, dtype=torch.float64)
    for (y, x), grid in zip(origins.tolist(), summary, strict=True):
        crop = labels[y : y + TILE, x : x + TILE]
        tokens = grid.repeat_interleave(PATCH, 0).repeat_interleave(PATCH, 1)[crop > 0]
        sums.index_add_(0, crop[crop > 0], tokens.double())
        pixels.index_add_(0, crop[crop > 0], torch.ones(len(tokens), 1, dtype=torch.float64))
    cells = labels[labels > 0].unique()
    return (sums / pixels)[cells].float()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="append nothing to the table")
    parser.add_argument("--mask", type=Path, help="a published mask in place of the seeded one")
    options = parser.parse_args()
    dry = options.dry
    one_core()
    torch.set_num_threads(1)
    labels = seeded_labels()
    if options.mask:
        labels = np.load(options.mask)["mask"].astype(int)
    origins = tile_origins(*labels.shape, TILE, STRIDE)
    generator = torch.Generator().manual_seed(0)
    side = TILE // PATCH
    summary = torch.randn(len(origins), side, side, TOKEN, generator=generator)
    arguments = (labels, origins, summary)
    torch.testing.assert_close(pooled(*arguments), by_pixel(*arguments))
    ours, plain = best_of([pooled, by_pixel], 1 if dry else 3, lambda: arguments)
    kind = "real mask, " if options.mask else ""
    case = f"{kind}{len(np.unique(labels)) - 1} cells, {len(origins)} crops of {TILE} px, one core"
    row = {"metric": "time of an image", "unit": "s", "value": ours}
    rows = [
        {"case": case, **row, "target": "value <= 0.25"},
        {"case": f"{case}; baseline a token for every pixel", **row, "baseline": plain},
    ]
    print(f"{case}: {ours:.3f} s")
    if dry:
        with tempfile.TemporaryDirectory() as place:
            append("cells", rows, ["torch"], path=Path(place) / "dry.csv")
    else:
        append("cells", rows, ["torch"])


if __name__ == "__main__":
    main()
