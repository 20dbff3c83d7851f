"""Model-ready images on disk: a zarr v3 array of float16 [M, H, W], one shard per tissue.

Written through zarr. Read window by window without it: a training crop touches several chunks,
and zarr's scheduling of those costs more than their decompression (benchmarks/crops.py). What is
read is plain zarr: the shard ends in a table of (offset, length) per chunk with a checksum, and a
chunk is one Blosc buffer. No thread or open file outlives a read, so loader workers may fork.
"""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numcodecs
import numpy as np
import zarr

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.images import BLOSC

CODEC = numcodecs.Blosc()  # to decode, it takes the settings from the buffer
# Blosc's own thread pool does not survive a fork, and loaders are parallel over crops already.
numcodecs.blosc.use_threads = False


def write_model_ready(path, image, markers, accessions, chunk):
    """Write `image` [M, H, W] float16 with the names and accessions of its channels.

    A temporary sibling is renamed, so that a store at `path` is always whole.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    channels, height, width = image.shape
    array = zarr.create_array(
        partial,
        shape=image.shape,
        dtype="float16",
        chunks=(channels, chunk, chunk),
        shards=(channels, -(-height // chunk) * chunk, -(-width // chunk) * chunk),
        compressors=BLOSC,
        dimension_names=("c", "y", "x"),
        attributes={"markers": list(markers), "accessions": list(accessions)},
        config={"write_empty_chunks": True},  # the reader need not know of absent chunks
    )
    array[:] = image
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial, path)


@dataclass(frozen=True, eq=False)
class ModelReadyImage:
    """A model-ready image of which only the chunks under a window are read."""

    shard: str  # path of the file that holds all chunks
    shape: tuple  # M, H, W
    chunk: int  # side of a chunk
    table: np.ndarray  # [chunk rows, chunk columns, 2]: offset and length in the shard
    markers: tuple
    accessions: tuple

    @classmethod
    def open(cls, path):
        """Read the metadata and the chunk table of the store at `path`.

        Raises InputError if it was cut short or is laid out otherwise than `write_model_ready`.
        """
        meta = json.loads((Path(path) / "zarr.json").read_text())
        sharding = meta["codecs"][0]
        if meta["data_type"] != "float16" or sharding["name"] != "sharding_indexed":
            raise InputError(
                f"{path}: expected float16 in one shard, found {meta['data_type']} in codec "
                f"{sharding['name']}; delete {Path(path).parent} and start again"
            )
        chunk = sharding["configuration"]["chunk_shape"][-1]
        _, height, width = meta["chunk_grid"]["configuration"]["chunk_shape"]
        shard = os.path.join(path, "c", "0", "0", "0")
        table = _chunk_table(shard, (height // chunk, width // chunk, 2))
        # Thousands of tissues repeat the same few dozen names.
        markers, accessions = (
            tuple(map(sys.intern, meta["attributes"][key])) for key in ("markers", "accessions")
        )
        return cls(shard, tuple(meta["shape"]), chunk, table, markers, accessions)

    def read_into(self, out, row, col, channels):
        """Fill `out` [C, h, w] (any float type, any strides) from the window at `row`, `col`.

        `channels` are C indices into the stored channels. The window must lie in the image.
        """
        height, width = out.shape[1:]
        _, rows, cols = self.shape
        if not (0 <= row <= rows - height and 0 <= col <= cols - width):
            raise IndexError(f"window {height} x {width} at ({row}, {col}) leaves {rows} x {cols}")
        side = self.chunk
        with open(self.shard, "rb", buffering=0) as file:
            for i in range(row // side, (row + height - 1) // side + 1):
                y, chunk_y = _overlap(row, height, i, side)
                for j in range(col // side, (col + width - 1) // side + 1):
                    x, chunk_x = _overlap(col, width, j, side)
                    offset, length = self.table[i, j].tolist()
                    buffer = CODEC.decode(os.pread(file.fileno(), length, offset))
                    chunk = np.frombuffer(buffer, dtype="<f2").reshape(-1, side, side)
                    # Channel by channel: no copy of the chunk, and one pass casts and turns.
                    for target, source in enumerate(channels):
                        out[target, y, x] = chunk[source, chunk_y, chunk_x]


def _chunk_table(shard, shape):
    checksum = 4  # bytes of crc32c behind the table
    size = 8 * int(np.prod(shape))
    with open(shard, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size - checksum))
        table, stored = file.read(size), file.read(checksum)
    whole = len(table) == size and len(stored) == checksum
    if not whole or google_crc32c.value(table) != int.from_bytes(stored, "little"):
        raise InputError(
            f"{shard}: expected a table of {shape[0]} x {shape[1]} chunks at its end, found "
            f"something else, so it was cut short; delete {Path(shard).parents[4]} and start again"
        )
    return np.frombuffer(table, dtype="<u8").reshape(shape)


def _overlap(start, length, index, side):
    """Return where chunk `index` meets [start, start + length): slices of window and of chunk."""
    low, high = max(start, index * side), min(start + length, (index + 1) * side)
    return slice(low - start, high - start), slice(low - index * side, high - index * side)
