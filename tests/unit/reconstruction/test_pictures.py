"""Units of the example pictures, what is chosen for them, and how they are kept."""

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.reconstruction.draw_zero_shot import choose, columns
from workflow_scripts.reconstruction.examples import (
    choose_channels,
    choose_cohort,
    choose_region,
    read_examples,
    save_examples,
)
from workflow_scripts.reconstruction.pictures import HIDDEN, scores, to_intensity, views
from workflow_scripts.reconstruction.zero_shot_examples import choose_groups


@pytest.mark.parametrize(("scale", "two"), [("log1p", np.log(3) / np.log(10)), ("counts", 2 / 9)])
def test_one_is_the_99th_percentile_and_zero_no_signal(scale, two):
    mean, std, quantile = np.array([0.7]), np.array([0.5]), np.array([9.0])
    counts = np.array([[[0.0, 9.0, 2.0]]])
    standardised = (np.log1p(counts) - mean) / std
    shown = to_intensity(standardised, mean, std, quantile, scale)
    np.testing.assert_allclose(shown, [[[0.0, 1.0, two]]], atol=1e-12)
    assert (to_intensity(standardised - 9, mean, std, quantile, scale) == 0).all()


def example(markers=("a", "b"), side=16):
    rng = np.random.default_rng(0)
    truth = rng.random((len(markers), side, side)).astype(np.float32)
    mask = np.zeros((len(markers), 2, 2), bool)
    mask[:, 0] = True
    one = np.ones(len(markers))
    return {
        "truth": truth,
        "guess": np.where(mask.repeat(8, 1).repeat(8, 2), 2 * truth, 99).astype(np.float32),
        "mask": mask,
        "markers": np.array(markers),
        "mean": 0 * one,
        "std": one,
        "quantile": one,
        "where": np.array(["c", "t", "0", "64"]),
    }


def test_hidden_patches_are_grey_and_only_they_are_scored():
    pictures = views(example(), "counts")
    assert (pictures["input"][:, :8] == HIDDEN).all()
    assert (pictures["input"][:, 8:] == pictures["measured"][:, 8:]).all()
    table = scores(example(), "niche")
    assert table["hidden_pixels"].tolist() == [128, 128]
    np.testing.assert_allclose(table["pearson_r"], 1, atol=1e-6)  # the visible 99 does not count


def test_examples_come_back_in_their_order(tmp_path):
    path = tmp_path / "examples.npz"
    save_examples(path, {"z/one": example(), "a": example(("only",))})
    back = read_examples(path)
    assert list(back) == ["z/one", "a"] and back["a"]["markers"].tolist() == ["only"]
    np.testing.assert_array_equal(back["z/one"]["truth"], example()["truth"])
    save_examples(path, {})
    assert read_examples(path) == {}


def test_what_is_shown_follows_the_wanted_markers_then_the_spread():
    assert choose_cohort({"a": ["P1"], "b": ["P1", "P2"], "c": ["P2", "P1"]}, ["P1", "P2"]) == "b"
    accessions = ["P1", "P2", "P3", "P4"]
    assert choose_channels(accessions, ["P3", "P9"], [1, 4, 0, 2], 3) == [2, 1, 3]
    groups = choose_groups(accessions, ["P4", "P3"], [1, 4, 0, 2], {"P1", "P4"})
    assert groups == [[3, 0], [2, 1]]


def test_the_region_has_the_median_score_of_the_lively_half():
    rows = [("t", 0, col * 8, "niche", r, spread) for col, (r, spread) in enumerate(REGIONS)]
    table = pd.DataFrame(rows, columns=["tissue_id", "row", "col", "strategy", "r", "spread"])
    place = choose_region(table, "niche", {"t": (8, 48)}, 8, 8)
    assert place == ("t", 0, 24, 1, 1)  # of r = 0.1, 0.5, 0.9 among those of spread 2
    assert choose_region(table, "marker", {"t": (8, 48)}, 8, 8) is None


REGIONS = [(0.9, 2), (0.95, 1), (0.1, 2), (0.5, 2), (0.99, 1), (0.97, 1)]


def test_zero_shot_targets_share_no_marker_and_leave_none_out():
    new = np.array([False, False, True, True, False])
    assert [list(part) for part in choose(new)] == [[0, 2], [1, 4], [3]]
    assert [list(part) for part in choose(np.array([True]))] == [[0], [], []]
    assert ("marker", None) not in columns() and columns().count(None) == 3
