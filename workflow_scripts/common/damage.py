"""Whether a file that an earlier job wrote is still whole: looked at when a job has failed."""

import itertools
import json
import logging
import math
import zipfile
from pathlib import Path

import pyarrow.parquet
import zarr
from PIL import Image
from safetensors import safe_open

from workflow_scripts.common.images import refuse_empty_files

log = logging.getLogger("virtues")


def damaged(paths, most=math.inf):
    """Return (path, file below it, what is wrong) of the first damaged file, or None.

    Read are tables, archives of arrays, weights, zarr stores, pictures and JSON; of CSV files only
    that they are not empty; files of other kinds are taken to be whole. A path may be a folder.
    The smallest are read first, up to `most` bytes in all; the log names where more is left.
    """
    files = {file: path for path in map(Path, paths) for file in _files(path)}
    sizes = sorted((_size(file), file) for file in files)
    ends = itertools.accumulate(size for size, _ in sizes)
    within = sum(end <= most for end in ends)
    for _, file in sizes[:within]:
        try:
            CHECKS[file.suffix](file)
        except Exception as error:  # whatever a library makes of nonsense
            reason = f"{error}".strip().split("\n")[0] or type(error).__name__
            return files[file], file, reason
    left = sorted({str(files[file]) for _, file in sizes[within:]})
    if left:
        log.warning("too large to look at all of it for damage: %s", ", ".join(left))
    return None


def _files(path):
    """Yield the files and zarr stores below a path that can be checked."""
    if path.suffix in CHECKS and path.exists():
        yield path
    elif path.is_dir():
        for child in sorted(path.iterdir()):
            yield from _files(child)


def _size(path):
    """Return the bytes of a file, or of all files of a store."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _check_parquet(path):
    table = pyarrow.parquet.ParquetFile(path)
    for group in range(table.num_row_groups):
        table.read_row_group(group)


def _check_npz(path):
    with zipfile.ZipFile(path) as archive:
        if (member := archive.testzip()) is not None:
            raise ValueError(f"its member {member} is damaged")


def _check_safetensors(path):
    with safe_open(path, framework="np") as file:
        file.keys()


def _check_png(path):
    with Image.open(path) as picture:
        picture.verify()


def _check_csv(path):
    if not path.stat().st_size:
        raise ValueError("it is empty")


def _check_zarr(path):
    refuse_empty_files(path)
    store = zarr.open(path, mode="r")
    arrays = [array for _, array in store.arrays()] if isinstance(store, zarr.Group) else [store]
    for array in arrays:
        step = array.shards or array.chunks
        starts = (range(0, size, side) for size, side in zip(array.shape, step, strict=True))
        for start in itertools.product(*starts):
            array[tuple(slice(at, at + side) for at, side in zip(start, step, strict=True))]


CHECKS = {
    ".parquet": _check_parquet,
    ".npz": _check_npz,
    ".safetensors": _check_safetensors,
    ".zarr": _check_zarr,
    ".png": _check_png,
    ".csv": _check_csv,
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
}
