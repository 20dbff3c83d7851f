"""Ingest of a local archive on one core: source pixels per second, and memory as it grows.

python -m benchmarks.ingest [--stacks 32] [--dry]

Source pixels are the bytes of the stacks' values, as stored: what an archive of that many bytes
takes, decompression, reading, tissue masks and writing included. Each run is a process of its own,
whose largest resident set is the memory.
"""

import argparse
import io
import resource
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tifffile
import yaml

from benchmarks.common import append, one_core
from workflow_scripts.cohorts.ingest import ingest
from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.common.cohort import load_cohort

CHANNELS, SIDE, MANY = 40, 600, 32
KINDS = {"float32, deflated zip": ("float32", zipfile.ZIP_DEFLATED)}
KINDS["uint16, stored zip"] = ("uint16", zipfile.ZIP_STORED)
COHORT = {
    "id": "measured",
    "title": "seeded stacks",
    "access": "open",
    "source": {"folder": "."},
    "reader": "stack_tiff",
    "layout": {
        "images": {"archive": "images.zip", "pattern": r"^(?P<tissue>(?P<patient>\d+))\.tiff$"},
        "masks": {"archive": "images.zip", "pattern": r"^masks/(?P<tissue>\d+)\.tiff$"},
    },
}


def stack(seed):
    """Return a seeded image [40, 600, 600] of skewed counts and a mask with 3,600 cells."""
    rng = np.random.default_rng(seed)
    means = np.kron(rng.gamma(0.3, 4.0, (CHANNELS, SIDE // 10, SIDE // 10)), np.ones((10, 10)))
    cells = np.arange(1, 1 + (SIDE // 10) ** 2, dtype="uint16").reshape(SIDE // 10, -1)
    return rng.poisson(means), np.kron(cells, np.ones((10, 10), "uint16"))


def write_cohort(folder, images, dtype, compression):
    """Write `images` stacks with their masks into one zip, and the cohort file beside it."""
    with zipfile.ZipFile(folder / "images.zip", "w", compression, compresslevel=4) as archive:
        for number in range(images):
            counts, mask = stack(number)
            for name, pixels in (("", counts.astype(dtype)), ("masks/", mask)):
                buffer = io.BytesIO()
                tifffile.imwrite(buffer, pixels, photometric="minisblack")
                archive.writestr(f"{name}{number}.tiff", buffer.getvalue())
    panel = [{"channel": f"marker {number}"} for number in range(CHANNELS)]
    (folder / "measured.yaml").write_text(yaml.safe_dump(COHORT | {"panel": panel}))


def measured(folder):
    """Ingest the cohort in `folder`; returns seconds and the largest resident set in MB."""
    one_core()
    folders = {key: folder / key for key in ("images", "cell_masks", "tissue_masks")}
    for place in folders.values():
        place.mkdir()
    cohort = load_cohort(folder / "measured.yaml")
    start = time.perf_counter()
    ingest(read_source(folder, cohort), cohort, folders, sigma=2.0)
    seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def run(images, dtype, compression):
    """Return seconds, MB of memory and MB of source pixels of an archive of `images` stacks."""
    with tempfile.TemporaryDirectory() as place:
        write_cohort(Path(place), images, dtype, compression)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            seconds, memory = pool.submit(measured, Path(place)).result()
    return seconds, memory, images * CHANNELS * SIDE**2 * np.dtype(dtype).itemsize / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stacks", type=int, default=MANY, help="images of the large archive")
    parser.add_argument("--dry", action="store_true", help="append nothing to the table")
    many, dry = vars(parser.parse_args()).values()
    few, rows = max(many // 8, 1), []
    for kind, settings in KINDS.items():
        _, small, _ = run(few, *settings)
        seconds, large, megabytes = run(many, *settings)
        case = f"{many} stacks {CHANNELS} x {SIDE} x {SIDE}, {kind}, one core"
        speed = {"metric": "source pixels", "unit": "MB/s", "value": megabytes / seconds}
        rows.append({"case": case} | speed | {"target": "value >= 60"})
        memory = {"metric": "resident set", "unit": "MB", "value": large, "baseline": small}
        memory |= {"case": f"{case}; baseline {few} stacks", "target": "value <= 2000"}
        rows.append(memory)
    packages = ["numpy", "tifffile", "zarr"]
    if dry:
        with tempfile.TemporaryDirectory() as place:
            append("ingest", rows, packages, path=Path(place) / "dry.csv")
    else:
        append("ingest", rows, packages)


if __name__ == "__main__":
    main()
