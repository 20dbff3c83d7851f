"""Training crops from disk against bare reads through zarr: on one core, and in loader processes.

python -m benchmarks.crops [--dry] [--workers 1 2 4 8]

Crops are turned, flipped, short of some channels, masked and packed, as a training step takes
them. `--workers` gives numbers of loader processes, each measured by itself; more than there are
cores share these. `--dry` appends nothing.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import zarr
from scipy.ndimage import gaussian_filter

from benchmarks.common import append, best_of, one_core
from workflow_scripts.common.crops import TrainingCrops
from workflow_scripts.common.model_ready import write_model_ready
from workflow_scripts.pretrain.batches import Batches, MicroBatches

CHANNELS, SIDE, CROP, SUB_IMAGE, READS = 40, 600, 128, 256, 160
MICRO_BATCH, WORKERS = 16, 8


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


def training_batches(folder, names, workers=0, steps=1):
    """Return the micro-batches of `steps` steps of READS crops each."""
    crops = TrainingCrops([folder], names, CROP, (0.0, 0.25), seed=0)
    settings = {"batch": READS, "micro_batch": MICRO_BATCH, "workers": workers}
    return Batches(MicroBatches(crops, 8, (0.6, 1.0)), steps, settings)


def measure(folder, store, names, chunk):
    """Return the rows of one chunk size: crops a second on one core, and bare reads beside."""
    batches = training_batches(folder, names)
    crops = batches.dataset.crops
    array = zarr.open_array(store, mode="r")
    rng = np.random.default_rng(1)

    def packed():
        for _ in batches.stream(0):
            pass

    def augmented():
        for n in range(READS):
            crops[n]

    def bare(origins):
        for row, col in origins.tolist():
            array[:, row : row + CROP, col : col + CROP]

    anywhere = rng.integers(SIDE - CROP + 1, size=(READS, 2))
    aligned = rng.integers(SIDE // CROP, size=(READS, 2)) * CROP
    functions = [packed, augmented, lambda: bare(anywhere), lambda: bare(aligned)]
    ours, read, windows, whole = (READS / seconds for seconds in best_of(functions, repeats=5))
    augmentation = "crops, turned, flipped, 0-25 % of channels dropped"
    packing = f"{augmentation}, masked and packed by {MICRO_BATCH}"
    case = f"{CHANNELS} x {CROP} x {CROP}, chunks of {chunk}, warm, one core; baseline zarr"
    baselines = [("same windows unaugmented", windows), ("windows aligned to chunks", whole)]
    return [
        {"case": f"{case}, {what}", "metric": metric, "unit": "1/s", "value": value}
        | {"baseline": baseline, "target": ">= 0.8"}
        for metric, value in ((packing, ours), (augmentation, read))
        for what, baseline in baselines
    ]


def measure_loader(folder, names, chunk, workers, steps=8):
    """Return the row of loader processes: crops a second that reach the training, after a start."""
    stream = training_batches(folder, names, workers, steps).stream(0)
    for _ in range(2 * workers):  # until every process has delivered what it read ahead
        next(stream)
    start = time.perf_counter()
    crops = sum(packed.crops for packed in stream)
    rate = crops / (time.perf_counter() - start)
    case = f"{CHANNELS} x {CROP} x {CROP}, chunks of {chunk}, warm, {workers} loader processes"
    return {"case": case, "metric": "crops, masked and packed", "unit": "1/s", "value": rate}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="append nothing to the table")
    cores = os.sched_getaffinity(0)
    most = min(WORKERS, len(cores))
    parser.add_argument("--workers", type=int, nargs="+", default=[most], metavar="N")
    args = parser.parse_args()
    torch.set_num_threads(1)
    zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for chunk in (128, 64):
            folder = Path(place) / str(chunk)
            store, names = write_cohort(folder, chunk)
            one_core()
            rows += measure(folder, store, names, chunk)
            os.sched_setaffinity(0, cores)
            rows += [measure_loader(folder, names, chunk, workers) for workers in args.workers]
        packages = ["numpy", "zarr", "numcodecs", "torch"]
        if args.dry:
            append("crops", rows, packages, path=Path(place) / "dry.csv")
        else:
            append("crops", rows, packages)


if __name__ == "__main__":
    main()
