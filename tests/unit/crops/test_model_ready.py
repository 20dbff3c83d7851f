"""Windows of model-ready images against zarr itself."""

import json
import os

import numpy as np
import pytest
import zarr

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.model_ready import ModelReadyImage, write_model_ready


def write(path, shape=(5, 150, 131), chunk=32, seed=0):
    image = np.random.default_rng(seed).standard_normal(shape).astype("float16")
    names = [f"marker {c}" for c in range(shape[0])]
    write_model_ready(path, image, names, [f"P{c}" for c in range(shape[0])], chunk)
    return image


@pytest.mark.parametrize("chunk", [16, 32, 64, 200])
@pytest.mark.parametrize("shape", [(5, 150, 131), (1, 64, 64), (3, 33, 97)])
def test_any_window_is_that_of_zarr(tmp_path, chunk, shape):
    image = write(tmp_path / "t.zarr", shape, chunk)
    array = zarr.open_array(tmp_path / "t.zarr", mode="r")
    np.testing.assert_array_equal(array[:], image)
    ours = ModelReadyImage.open(tmp_path / "t.zarr")
    assert (ours.shape, ours.chunk) == (shape, chunk)
    rng = np.random.default_rng(1)
    for _ in range(30):
        height, width = (int(rng.integers(1, size + 1)) for size in shape[1:])
        row = int(rng.integers(shape[1] - height + 1))
        col = int(rng.integers(shape[2] - width + 1))
        channels = rng.integers(shape[0], size=int(rng.integers(1, 5)))
        out = np.full((len(channels), height, width), np.nan, dtype="float32")
        ours.read_into(out, row, col, channels)
        expected = array[:, row : row + height, col : col + width][channels]
        np.testing.assert_array_equal(out, expected)


def test_an_image_of_zeros_is_stored_like_any_other(tmp_path):
    write_model_ready(tmp_path / "t.zarr", np.zeros((2, 40, 40), "float16"), "ab", ["P1", "P2"], 32)
    out = np.ones((2, 40, 40), dtype="float32")
    ModelReadyImage.open(tmp_path / "t.zarr").read_into(out, 0, 0, [0, 1])
    assert not out.any()


def test_names_and_accessions_are_kept(tmp_path):
    write(tmp_path / "t.zarr")
    image = ModelReadyImage.open(tmp_path / "t.zarr")
    assert image.markers == tuple(f"marker {c}" for c in range(5))
    assert image.accessions == tuple(f"P{c}" for c in range(5))


def test_only_the_chunks_under_the_window_are_read(tmp_path, monkeypatch):
    write(tmp_path / "t.zarr", (2, 160, 160), 32)
    image = ModelReadyImage.open(tmp_path / "t.zarr")
    reads, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda *place: reads.append(place) or pread(*place))
    for row, col, chunks in ((32, 64, 4), (33, 64, 6), (33, 65, 9)):
        reads.clear()
        image.read_into(np.empty((2, 64, 64), "float32"), row, col, [0, 1])
        assert len(reads) == chunks


@pytest.mark.parametrize(("row", "col"), [(-1, 0), (0, -1), (87, 0), (0, 68)])
def test_a_window_must_lie_in_the_image(tmp_path, row, col):
    write(tmp_path / "t.zarr")
    with pytest.raises(IndexError, match=r"64 x 64 at .* leaves 150 x 131"):
        ModelReadyImage.open(tmp_path / "t.zarr").read_into(np.empty((1, 64, 64)), row, col, [0])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_shard_that_was_cut_short_is_refused(tmp_path, share):
    write(tmp_path / "t.zarr")
    shard = tmp_path / "t.zarr/c/0/0/0"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"a table of 5 x 5 chunks .* delete .* and start again"):
        ModelReadyImage.open(tmp_path / "t.zarr")


def test_another_layout_is_refused(tmp_path):
    array = zarr.create_array(tmp_path / "t.zarr", shape=(2, 40, 40), dtype="float32")
    array[:] = 1
    assert json.loads((tmp_path / "t.zarr/zarr.json").read_text())["data_type"] == "float32"
    with pytest.raises(InputError, match=r"t\.zarr: expected float16 in one shard, found float32"):
        ModelReadyImage.open(tmp_path / "t.zarr")


def test_a_store_is_replaced_whole(tmp_path, monkeypatch):
    first = write(tmp_path / "t.zarr", seed=0)

    def full_disc(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("zarr.Array.__setitem__", full_disc)
        with pytest.raises(OSError, match="no space"):
            write(tmp_path / "t.zarr", seed=1)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "t.zarr", mode="r")[:], first)
    second = write(tmp_path / "t.zarr", seed=1)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "t.zarr", mode="r")[:], second)
    assert [path.name for path in tmp_path.iterdir()] == ["t.zarr"]
