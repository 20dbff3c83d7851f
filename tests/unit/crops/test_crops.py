"""Grids of crops, and the stream of training crops.

The planted image says where its pixels come from: channel 0 holds the row, channel 1 the column
and every further channel its own number, all exact in float16.
"""

import multiprocessing
from collections import Counter

import numpy as np
import pytest
import torch

from tests.unit.cohort_folders import write_published
from workflow_scripts.common.crops import (
    TrainingCrops,
    coverage,
    grid_crops,
    kept_channels,
    open_tissue,
    tissue_grid,
    undone_symmetry,
)
from workflow_scripts.common.errors import InputError

SIDE, NO_DROPOUT = 16, (0.0, 0.0)


def planted(channels, height, width):
    image = np.empty((channels, height, width), dtype="float16")
    image[:] = np.arange(channels)[:, None, None]
    image[0], image[1] = np.indices((height, width))
    return image


def accessions_of(channels, prefix):
    return [f"{prefix}{c}" for c in range(channels)]


TABLE = ["unused", *accessions_of(4, "Q"), *accessions_of(12, "P")]  # of marker embeddings


@pytest.fixture
def cohorts(tmp_path):
    """Two published cohorts with 12 and 4 channels; 5 + 1 and 2 sub-images for training."""
    first, second = tmp_path / "first", tmp_path / "second"
    twelve, four = accessions_of(12, "P"), accessions_of(4, "Q")
    write_published(
        first,
        {
            "a": (planted(12, 90, 70), twelve, "train"),
            "b": (planted(12, 40, 120), twelve, "train"),
            "held out": (planted(12, 60, 60), twelve, "test"),
        },
        [("a", 7 * i, 5 * i, 32, 32) for i in range(5)]
        + [("b", 0, 0, 40, 120)]
        + [("held out", 0, 0, 32, 32)] * 9,
    )
    write_published(
        second,
        {"a": (planted(4, 64, 64), four, "train")},
        [("a", 0, 32, 32, 32), ("a", 11, 3, 32, 32)],
    )
    return [first, second]


@pytest.fixture
def one_window(tmp_path):
    """One cohort, one training sub-image of 20 x 19 px at (9, 30)."""
    accessions = accessions_of(12, "P")
    write_published(
        tmp_path / "c",
        {"t": (planted(12, 64, 64), accessions, "train")},
        [("t", 9, 30, 20, 19)],
    )
    return [tmp_path / "c"]


def stream(folders, dropout=NO_DROPOUT, seed=0, side=SIDE):
    return TrainingCrops(folders, TABLE, side, dropout, seed)


def locate(image, ids):
    """Return the corner and the symmetry of a planted crop, from its row and column channels."""
    base = TABLE.index("P0") if ids.max() >= TABLE.index("P0") else TABLE.index("Q0")
    rows, cols = image[ids == base][0], image[ids == base + 1][0]
    row, col = int(rows.min()), int(cols.min())
    original = np.indices(rows.shape) + np.array([row, col])[:, None, None]
    for turns in range(4):
        for flip in (False, True):
            turned = np.rot90(original, turns, axes=(1, 2))
            if np.array_equal(turned[:, :, ::-1] if flip else turned, [rows, cols]):
                return row, col, turns, flip
    raise AssertionError("not one of the eight symmetries of a window")


def chi_square(counts, cells):
    expected = sum(counts.values()) / cells
    return sum((counts.get(cell, 0) - expected) ** 2 / expected for cell in range(cells))


def test_coverage_is_the_mean_of_the_mask():
    mask = np.random.default_rng(0).random((50, 60)) < 0.4
    rows, cols = np.array([0, 3, 20, 30]), np.array([0, 40, 5, 44])
    expected = [mask[r : r + 20, c : c + 16].mean() for r, c in zip(rows, cols, strict=True)]
    np.testing.assert_allclose(coverage(mask, rows, cols, 20, 16), expected, rtol=1e-12)


def test_grid_crops_lie_side_by_side_and_leave_the_rest():
    origins = grid_crops(70, 100, 32).tolist()
    assert origins == [[0, 0], [0, 32], [0, 64], [32, 0], [32, 32], [32, 64]]
    assert len(grid_crops(512, 512, 64)) == 64
    assert grid_crops(31, 100, 32).shape == (0, 2)


def test_tissue_grid_keeps_crops_with_enough_tissue():
    mask = np.zeros((70, 70), dtype=bool)
    mask[:10, :32] = True  # 31 % of the first crop
    mask[32:41, 32:64] = True  # 28 % of the last
    assert tissue_grid(mask, 32, 0.3).tolist() == [[0, 0]]
    assert tissue_grid(mask, 32, 10 / 32).tolist() == [[0, 0]]  # the limit is enough
    assert len(tissue_grid(mask, 32, 0.0)) == 4
    assert tissue_grid(np.ones((20, 90), dtype=bool), 32, 0.3).shape == (0, 2)


def test_a_tissue_shows_the_channels_that_have_an_embedding(tmp_path):
    accessions = ["P3", "missing", "P1", "P3", "missing too"]
    write_published(tmp_path / "c", {"t": (planted(5, 40, 50), accessions, "train")}, [])
    tissue = open_tissue(tmp_path / "c", "t", ["P0", "P1", "P2", "P3"])
    assert tissue.ids.tolist() == [3, 1, 3]  # one accession on two channels is legal
    assert tissue.ids.dtype == np.int64
    assert tissue.markers == ("marker 0", "marker 2", "marker 3")
    assert tissue.skipped == 2
    assert tissue.shape == (40, 50)
    crop = tissue.crop(7, 9, 20, 30)
    assert crop.dtype == np.float32
    np.testing.assert_array_equal(crop, planted(5, 40, 50)[[0, 2, 3], 7:27, 9:39])


def test_an_epoch_visits_every_training_sub_image_once(cohorts):
    crops = stream(cohorts)
    assert len(crops) == crops.n_sub_images == 8
    orders = []
    for epoch in range(6):
        places = [crops.locate(n) for n in range(8 * epoch, 8 * epoch + 8)]
        assert {place[0] for place in places} == {epoch}
        assert sorted(index for _, index in places) == list(range(8))
        orders.append(tuple(index for _, index in places))
    assert len(set(orders)) > 1
    panels = Counter(len(crops[n][1]) for n in range(8))
    assert panels == {12: 6, 4: 2}


def test_every_crop_lies_in_its_sub_image(cohorts):
    crops = stream(cohorts)
    for n in range(80):
        _, index = crops.locate(n)
        row, col, height, width = crops.windows[index]
        image, ids = crops[n]
        assert image.shape == (len(ids), SIDE, SIDE)
        assert (image.dtype, ids.dtype) == (np.float16, np.int64)
        top, left, _, _ = locate(image, ids)
        assert row <= top <= row + height - SIDE
        assert col <= left <= col + width - SIDE


def test_positions_and_the_eight_symmetries_are_uniform(one_window):
    crops = stream(one_window)
    rows, cols, symmetries = Counter(), Counter(), Counter()
    for n in range(1200):
        row, col, turns, flip = locate(*crops[n])
        rows[row - 9] += 1
        cols[col - 30] += 1
        symmetries[2 * turns + flip] += 1
    # p = 0.001 at 4, 3 and 7 degrees of freedom
    assert chi_square(rows, 5) < 18.5
    assert chi_square(cols, 4) < 16.3
    assert chi_square(symmetries, 8) < 24.3


def test_an_undone_symmetry_is_done_by_turning_and_flipping():
    image = np.random.default_rng(0).random((3, 7, 7))
    for turns in range(4):
        for flip in (False, True):
            turned = np.rot90(undone_symmetry(image, turns, flip), turns, axes=(1, 2))
            np.testing.assert_array_equal(turned[:, :, ::-1] if flip else turned, image)


def test_ids_follow_their_channels_through_dropout_and_shuffle(one_window):
    crops = stream(one_window, dropout=(0.25, 0.5))
    first = TABLE.index("P0")
    for n in range(50):
        image, ids = crops[n]
        assert len(set(ids.tolist())) == len(ids)
        for channel, row in zip(image, ids, strict=True):
            if row > first + 1:
                assert (channel == row - first).all()


@pytest.mark.parametrize("channels", [1, 4, 40, 41])
def test_dropout_keeps_the_ceiling_of_a_uniform_share(channels):
    rng = np.random.default_rng(0)
    kept = Counter(len(kept_channels(channels, (0.0, 0.25), rng)) for _ in range(4000))
    shares = np.random.default_rng(1).uniform(0.75, 1.0, 400_000)
    expected = Counter(np.ceil(channels * shares).astype(int).tolist())
    assert set(kept) <= set(expected)
    for count in expected:
        assert kept[count] / 4000 == pytest.approx(expected[count] / 400_000, abs=0.03)


@pytest.mark.parametrize("channels", [1, 2, 40])
def test_dropout_leaves_a_channel(channels):
    rng = np.random.default_rng(0)
    kept = {len(kept_channels(channels, (0.9, 0.999), rng)) for _ in range(500)}
    assert min(kept) == 1


@pytest.mark.parametrize("shares", [(1.0, 1.0), (0.0, 1.0), (0.5, 0.25)])
def test_dropout_that_may_leave_no_channel_is_refused(one_window, shares):
    sentence = (
        rf"pretrain\.channel_dropout: shares from {shares[0]} to {shares[1]}, expected a range "
        r"within 0 and 1, of which 1 would leave a crop without channels; lower its upper bound"
    )
    with pytest.raises(InputError, match=sentence):
        stream(one_window, shares)


def test_every_channel_is_dropped_as_often_and_order_is_random():
    rng = np.random.default_rng(0)
    draws = [kept_channels(8, (0.5, 0.5), rng) for _ in range(4000)]
    present = np.bincount(np.concatenate(draws), minlength=8) / 4000
    np.testing.assert_allclose(present, 0.5, atol=0.04)
    first = np.bincount([draw[0] for draw in draws], minlength=8) / 4000
    np.testing.assert_allclose(first, 1 / 8, atol=0.03)


def test_without_dropout_every_channel_is_there(one_window):
    image, ids = stream(one_window)[0]
    assert sorted(ids) == list(range(TABLE.index("P0"), TABLE.index("P0") + 12))
    assert len(image) == 12


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_crop_depends_on_its_place_in_the_stream_alone(cohorts):
    crops, again = stream(cohorts, (0.0, 0.25)), stream(cohorts, (0.0, 0.25))
    forward = [crops[n] for n in range(40)]
    for n in reversed(range(40)):
        assert same(forward[n], again[n])
    assert not same(forward[0], stream(cohorts, (0.0, 0.25), seed=1)[0])


def test_epochs_differ(one_window):
    crops = stream(one_window)
    assert len({locate(*crops[n]) for n in range(20)}) > 10


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_workers_see_the_same_crops(cohorts, method):
    crops = stream(cohorts, (0.0, 0.25))
    crops[0]  # a used stream must survive the fork, too
    loader = torch.utils.data.DataLoader(
        crops,
        sampler=range(5, 25),
        batch_size=None,
        num_workers=2,
        multiprocessing_context=multiprocessing.get_context(method),
    )
    fresh = stream(cohorts, (0.0, 0.25))
    loaded = [(image.numpy(), ids.numpy()) for image, ids in loader]
    assert len(loaded) == 20
    for n, item in zip(range(5, 25), loaded, strict=True):
        assert same(item, fresh[n])


def test_a_sub_image_smaller_than_a_crop_is_refused(one_window):
    sentence = r"sub_images\.parquet: tissue t has a sub-image of 20 x 19 px, .* 20 px does not fit"
    with pytest.raises(InputError, match=sentence):
        stream(one_window, side=20)
    assert len(stream(one_window, side=19)) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_no_number_is_refused_with_its_marker(tmp_path, value):
    image = planted(12, 64, 64)
    image[5, 20, 40] = value
    write_published(
        tmp_path / "c",
        {"t": (image, accessions_of(12, "P"), "train")},
        [("t", 12, 32, SIDE, SIDE), ("t", 40, 0, SIDE, SIDE)],
    )
    crops = stream([tmp_path / "c"])
    bad = next(n for n in range(2) if crops.locate(n)[1] == 0)
    sentence = (
        rf"model_ready/t\.zarr: crop {bad} \(cohort c, tissue t\) has pixels of marker marker 5 "
        r"that are NaN or infinite, expected finite numbers; delete .*model_ready and run preproc"
    )
    with pytest.raises(InputError, match=sentence):
        crops[bad]
    assert np.isfinite(crops[1 - bad][0]).all()


def test_panel_sizes_count_the_channels_with_an_embedding(cohorts):
    assert stream(cohorts).panel_sizes().tolist() == [12] * 6 + [4] * 2
    without = TrainingCrops(cohorts[::-1], ["P0", "P7", "Q2"], SIDE, NO_DROPOUT, 0)
    assert without.panel_sizes().tolist() == [1] * 2 + [2] * 6


def test_a_panel_without_any_embedding_is_refused(one_window):
    crops = TrainingCrops(one_window, ["other"], SIDE, NO_DROPOUT, 0)
    with pytest.raises(InputError, match="none of the 12 channels of tissue t has a marker"):
        crops[0]


def test_a_cohort_of_which_nothing_is_left_gives_no_crop(tmp_path, one_window):
    write_published(tmp_path / "empty", {}, [])
    crops = stream([tmp_path / "empty"])
    assert len(crops) == 0
    with pytest.raises(IndexError, match="no crop 0 in a stream over 0 sub-images"):
        crops[0]
    assert len(stream([tmp_path / "empty", *one_window])) == 1
