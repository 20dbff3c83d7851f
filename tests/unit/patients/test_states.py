"""Cells as states: k-means over blocks against k-means in memory, and what it needs of that."""

import tracemalloc

import numpy as np
import pytest
import zarr
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from workflow_scripts.patients import states as s


@pytest.fixture(scope="module")
def tokens():
    points, kinds = make_blobs(6000, 8, centers=12, cluster_std=1.0, random_state=3)
    order = np.argsort(kinds, kind="stable")  # a tissue's cells are alike and lie together on disk
    return points[order].astype(np.float32), kinds[order]


def spread(tokens, labels):
    return sum(
        ((tokens[labels == k] - tokens[labels == k].mean(0)) ** 2).sum() for k in set(labels)
    )


def test_blocks_hold_each_kept_row_once():
    array = np.arange(40, dtype=np.float32).reshape(20, 2)
    keep = np.arange(20) % 3 == 0
    parts = list(s.blocks(array, keep, 7, np.random.default_rng(1)))
    places = np.concatenate([place for place, _ in parts])
    assert sorted(places) == list(np.flatnonzero(keep))
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in parts]), array[places])
    assert [len(rows) for _, rows in s.blocks(array, keep, 7)] == [3, 2, 2]
    assert list(s.blocks(array, keep & False, 7)) == []


@pytest.mark.parametrize("seed", [0, 1])
def test_states_are_as_tight_as_those_of_k_means_in_memory(tokens, seed):
    points, kinds = tokens
    keep = np.ones(len(points), dtype=bool)
    models = s.fit_states(points, keep, [(12, seed)], size=1000, passes=5)
    found = s.assign_states(points, keep, models, 1000)[12, seed]
    best = KMeans(12, n_init=5, random_state=0).fit(points).inertia_
    assert spread(points, found) < 1.25 * best
    assert adjusted_rand_score(kinds, found) > 0.8


def test_the_same_seed_gives_the_same_states_and_cells_left_out_have_none(tokens):
    points, _ = tokens
    keep = np.random.default_rng(0).random(len(points)) < 0.5
    alone = s.fit_states(points, keep, [(12, 0)], 1000, 2)
    beside = s.fit_states(points, keep, [(12, 0), (5, 1)], 1000, 2)
    first, second = (s.assign_states(points, keep, m, 500) for m in (alone, beside))
    assert len(first[12, 0]) == keep.sum() and set(second) == {(12, 0), (5, 1)}
    np.testing.assert_array_equal(first[12, 0], second[12, 0])
    changed = points.copy()
    changed[~keep] = 1e6
    third = s.assign_states(changed, keep, s.fit_states(changed, keep, [(12, 0)], 1000, 2), 500)
    np.testing.assert_array_equal(first[12, 0], third[12, 0])


def test_memory_holds_a_block_and_not_all_cells(tmp_path):
    rows, width, size = 120_000, 64, 4096
    array = zarr.create_array(
        tmp_path / "cells.zarr", shape=(rows, width), chunks=(4096, width), dtype="float32",
        compressors=None,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for start in range(0, rows, 4096):
        array[start : start + 4096] = rng.random((min(4096, rows - start), width), np.float32)
    keep = np.ones(rows, dtype=bool)
    tracemalloc.start()
    models = s.fit_states(array, keep, [(20, 0), (10, 0)], size, passes=1)
    s.assign_states(array, keep, models, size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows * width * 4 / 3


def test_proportions_are_shares_of_a_patient_s_cells():
    shares = s.proportions(["q", "p", "p", "p"], [2, 0, 0, 2], count=4)
    assert shares.loc["p"].tolist() == [2 / 3, 0, 1 / 3, 0] and shares.loc["q", 2] == 1
    assert list(s.proportions(["p", "q"], ["B", "A"]).columns) == ["A", "B"]
