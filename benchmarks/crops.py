"""Random augmented training crops from disk against bare reads through zarr, on one core.

python -m benchmarks.crops
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from scipy.ndimage import gaussian_filter

from benchmarks.common import append, best_of, one_core
from workflow_scripts.common.crops import TrainingCrops
from workflow_scripts.common.model_ready import write_model_ready

CHANNELS, SIDE, CROP, SUB_IMAGE, READS = 40, 600, 128, 256, 150


def write_cohort(folder, chunk):
    """Write one seeded model-ready image of smooth counts and the tables that name it."""
    rng = np.random.default_rng(0)
    rates = gaussian_filter(rng.gamma(0.3, 6.0, (CHANNELS, SIDE, SIDE)), (0, 2, 2))
    image = gaussian_filter(np.log1p(rng.poisson(rates)), (0, 1, 1), truncate=1)
    image = (image - image.mean((1, 2), keepdims=True)) / image.std((1, 2), keepdims=True)
    names = [f"P{c:05d}" for c in range(CHANNELS)]
    (folder / "model_ready").mkdir(parents=True)
    (folder / "metadata").mkdir()
    store = folder / "model_ready" / "t.zarr"
    write_model_ready(store, image.astype("float16"), names, names, chunk)
    tissues = pd.DataFrame({"tissue_id": ["t"], "split": ["train"]})
    tissues.to_parquet(folder / "metadata" / "tissues.parquet")
    corners = rng.integers(SIDE - SUB_IMAGE + 1, size=(64, 2))
    windows = pd.DataFrame(corners, columns=["row", "col"])
    windows = windows.assign(tissue_id="t", height=SUB_IMAGE, width=SUB_IMAGE)
    windows.to_parquet(folder / "sub_images.parquet")
    return store, names


def measure(folder, chunk):
    """Return the rows of one chunk size: crops a second, and bare reads a second beside."""
    store, names = write_cohort(folder, chunk)
    crops = TrainingCrops([folder], names, CROP, (0.0, 0.25), seed=0)
    array = zarr.open_array(store, mode="r")
    rng = np.random.default_rng(1)

    def augmented():
        for n in range(READS):
            crops[n]

    def bare(origins):
        for row, col in origins.tolist():
            array[:, row : row + CROP, col : col + CROP]

    anywhere = rng.integers(SIDE - CROP + 1, size=(READS, 2))
    aligned = rng.integers(SIDE // CROP, size=(READS, 2)) * CROP
    times = best_of([augmented, lambda: bare(anywhere), lambda: bare(aligned)], repeats=5)
    ours, windows, whole = (READS / seconds for seconds in times)
    row = {
        "metric": "crops, turned, flipped, 0-25 % of channels dropped",
        "unit": "1/s",
        "value": ours,
        "target": ">= 0.8",
    }
    case = f"{CHANNELS} x {CROP} x {CROP}, chunks of {chunk}, warm, one core; baseline zarr"
    return [
        row | {"case": f"{case}, same windows unaugmented", "baseline": windows},
        row | {"case": f"{case}, windows aligned to chunks", "baseline": whole},
    ]


def main():
    one_core()
    zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for chunk in (128, 64) for row in measure(Path(folder) / str(chunk), chunk)]
    append("crops", rows, ["numpy", "zarr", "numcodecs"])


if __name__ == "__main__":
    main()
