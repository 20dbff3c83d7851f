"""Filters, sub-images and the split by patient."""

import os

import numpy as np
import pandas as pd
import pytest

from tests.unit.cohort_folders import channel_table, split_job, write_ingest
from workflow_scripts.cohorts.split import (
    assign_splits,
    choose_tissues,
    draw_sub_images,
    main,
    split_patients,
)
from workflow_scripts.common.errors import InputError

SETTINGS = {"min_side": 64, "min_coverage": 0.3}
SUB_IMAGES = {"side": 64, "per_fit": 4, "seed": 0}


def half_tissue(height=200, width=150):
    mask = np.zeros((height, width), dtype=bool)
    mask[:, : width // 2] = True
    return mask


def tissue_table(**columns):
    table = pd.DataFrame({"split": None} | columns)
    return table.assign(split=table["split"].astype(object))


def test_every_sub_image_has_the_tissue_that_it_states():
    mask = np.random.default_rng(3).random((190, 210)) < np.linspace(0, 0.8, 210)
    kept, drawn = draw_sub_images("t", mask, 0.3, 64, 4, 0)
    assert drawn == 4 * 2 * 3
    assert 0 < len(kept) < drawn
    for row in kept.itertuples():
        window = mask[row.row : row.row + row.height, row.col : row.col + row.width]
        assert window.shape == (64, 64)
        assert row.tissue_fraction == window.mean() >= 0.3


def test_sub_images_are_filtered_not_drawn_again():
    every, _ = draw_sub_images("t", half_tissue(), 0.0, 64, 4, 0)
    kept, drawn = draw_sub_images("t", half_tissue(), 0.3, 64, 4, 0)
    assert len(every) == drawn
    expected = every[every["tissue_fraction"] >= 0.3]
    pd.testing.assert_frame_equal(kept, expected)


def test_coverage_at_the_limit_is_enough():
    mask = np.zeros((10, 10), dtype=bool)
    mask[:3] = True
    assert len(draw_sub_images("t", mask, 0.3, 10, 4, 0)[0]) == 4
    assert len(draw_sub_images("t", mask, 0.31, 10, 4, 0)[0]) == 0


def test_positions_are_uniform_and_reach_every_border():
    mask = np.ones((70, 67), dtype=bool)
    tables = [draw_sub_images("t", mask, 0.0, 64, 4, seed)[0] for seed in range(700)]
    table = pd.concat(tables)
    for column, places in (("row", 7), ("col", 4)):
        counts = np.bincount(table[column], minlength=places)
        expected = len(table) / places
        # chi-square with at most 6 degrees of freedom: 22.5 has p = 0.001
        assert ((counts - expected) ** 2 / expected).sum() < 22.5
        assert len(counts) == places


def test_the_whole_image_can_be_the_sub_image():
    kept, drawn = draw_sub_images("t", half_tissue(), 0.0, None, 4, 0)
    assert drawn == 1
    assert kept[["row", "col", "height", "width"]].values.tolist() == [[0, 0, 200, 150]]


def test_sub_images_depend_on_tissue_and_seed_alone():
    masks = {"a": half_tissue(), "b": half_tissue(), "c": np.ones((200, 150), dtype=bool)}
    table = pd.DataFrame({"tissue_id": list(masks), "height": 200, "width": 150})
    forward, _, _ = choose_tissues(table, masks.get, SETTINGS, SUB_IMAGES)
    backward, _, _ = choose_tissues(table[::-1], masks.get, SETTINGS, SUB_IMAGES)
    for tissue in masks:
        one = forward[forward["tissue_id"] == tissue].reset_index(drop=True)
        other = backward[backward["tissue_id"] == tissue].reset_index(drop=True)
        pd.testing.assert_frame_equal(one, other)
    rows = {tissue: tuple(group["row"]) for tissue, group in forward.groupby("tissue_id")}
    assert rows["a"] != rows["b"]  # same mask, own positions
    other_seed, _, _ = choose_tissues(table, masks.get, SETTINGS, SUB_IMAGES | {"seed": 1})
    assert not other_seed["row"].equals(forward["row"])


def test_exclusions_state_their_reason():
    masks = {"small": np.ones((63, 90)), "empty": np.zeros((90, 90)), "good": np.ones((90, 90))}
    masks = {tissue: mask.astype(bool) for tissue, mask in masks.items()}
    table = pd.DataFrame({"tissue_id": list(masks), "height": [63, 90, 90], "width": 90})
    chosen, exclusions, drawn = choose_tissues(table, masks.get, SETTINGS, SUB_IMAGES)
    assert dict(exclusions.itertuples(index=False)) == {
        "small": "side 63 px below 64 px",
        "empty": "no sub-image with 30% tissue",
    }
    assert set(chosen["tissue_id"]) == {"good"}
    assert drawn == 8


def test_an_image_that_holds_no_sub_image_is_excluded_even_above_min_side():
    table = pd.DataFrame({"tissue_id": ["t"], "height": [80], "width": [63]})
    _, exclusions, _ = choose_tissues(table, None, SETTINGS | {"min_side": 32}, SUB_IMAGES)
    assert exclusions["reason"].tolist() == ["side 63 px below 64 px"]


def test_small_real_regions_are_all_excluded(shared):
    images = pd.read_csv(shared("real/steinbock_mock/images.csv"))
    table = pd.DataFrame(
        {"tissue_id": images["image"], "height": images["height_px"], "width": images["width_px"]}
    )
    sizes, defaults = {"side": 256, "per_fit": 4, "seed": 0}, {"min_side": 256, "min_coverage": 0.3}
    chosen, exclusions, _ = choose_tissues(table, None, defaults, sizes)
    assert len(exclusions) == len(table) > 0
    assert chosen.empty
    assert exclusions["reason"].str.fullmatch(r"side \d+ px below 256 px").all()


@pytest.mark.parametrize("patients", [2, 3, 10, 101])
def test_patients_are_split_by_share_with_both_sides_filled(patients):
    ids = [f"p{i}" for i in range(patients)]
    split = split_patients(ids, 0.2, 0)
    tested = sum(side == "test" for side in split.values())
    assert set(split) == set(ids)
    assert tested == max(1, round(0.2 * patients))
    assert split == split_patients(ids[::-1] * 2, 0.2, 0)


def test_the_seed_draws_the_split():
    ids = [f"p{i}" for i in range(50)]
    splits = [split_patients(ids, 0.5, seed) for seed in range(40)]
    assert splits[0] != splits[1]
    tested = np.array([[split[i] == "test" for i in ids] for split in splits])
    assert (tested.sum(axis=1) == 25).all()
    assert tested.mean(axis=0).min() > 0.2  # nobody is always on one side
    assert tested.mean(axis=0).max() < 0.8


def test_no_test_patient_if_none_is_asked_for_or_one_patient_only():
    assert set(split_patients(["a", "b", "c"], 0.0, 0).values()) == {"train"}
    assert split_patients(["a", "a"], 0.2, 0) == {"a": "train"}
    assert split_patients([], 0.2, 0) == {}


def test_fewer_than_two_patients_are_said_in_the_log(caplog):
    table = tissue_table(tissue_id=["a", "b"], patient_id=["p", "p"])
    chosen = assign_splits(table, ["a", "b"], {"test_fraction": 0.2, "seed": 0}, "t.parquet")
    assert chosen["split"].tolist() == ["train", "train"]
    assert "fewer than two patients (1): all train" in caplog.text


def test_a_patient_is_never_in_both_splits():
    patients = np.random.default_rng(0).integers(30, size=200).astype(str)
    table = tissue_table(tissue_id=[f"t{i}" for i in range(200)], patient_id=patients)
    for seed in range(20):
        settings = {"test_fraction": 0.2, "seed": seed}
        chosen = assign_splits(table, table["tissue_id"], settings, "t.parquet")
        assert chosen.groupby("patient_id")["split"].nunique().max() == 1
        assert set(chosen["split"]) == {"train", "test"}


def test_a_shipped_split_wins_and_its_patients_take_their_other_tissues_along():
    table = tissue_table(
        tissue_id=list("abcd"),
        patient_id=["p", "p", "q", "r"],
        split=["test", None, "train", None],
    )
    for seed in range(5):
        settings = {"test_fraction": 0.0, "seed": seed}
        chosen = assign_splits(table, list("abcd"), settings, "t.parquet")
        assert chosen["split"].tolist() == ["test", "test", "train", "train"]


def test_a_patient_in_both_shipped_splits_is_refused():
    table = tissue_table(
        tissue_id=list("abc"), patient_id=["p7", "p7", "q"], split=["test", "train", "train"]
    )
    with pytest.raises(InputError, match=r"t\.parquet: patient p7 is in both splits.*correct"):
        assign_splits(table, list("abc"), {"test_fraction": 0.2, "seed": 0}, "t.parquet")


def test_an_unknown_shipped_split_is_refused():
    table = tissue_table(tissue_id=["a"], patient_id=["p"], split=["validation"])
    sentence = r"t\.parquet: tissue a has split 'validation', expected train or test"
    with pytest.raises(InputError, match=sentence):
        assign_splits(table, ["a"], {"test_fraction": 0.2, "seed": 0}, "t.parquet")


def test_a_tissue_without_patient_is_refused():
    table = tissue_table(tissue_id=["a", "b", "c"], patient_id=["p", None, None])
    with pytest.raises(InputError, match=r"t\.parquet: tissue b has no patient_id \(and 1 other"):
        assign_splits(table, ["a"], {"test_fraction": 0.2, "seed": 0}, "t.parquet")


@pytest.fixture
def cohort(tmp_path):
    """Three good tissues of three patients, one that is too small and one without tissue."""
    masks = {f"t{i}": np.ones((80 + i, 90), dtype=bool) for i in range(3)}
    masks |= {"small": np.ones((40, 90), dtype=bool), "empty": np.zeros((90, 90), dtype=bool)}
    images = {tissue: np.ones((2, *mask.shape), "float32") for tissue, mask in masks.items()}
    patients = {tissue: f"patient {tissue}" for tissue in masks}
    channels = channel_table(["A", "B"], ["P1", None])
    write_ingest(tmp_path / "ingest/c", images, masks, patients, channels)
    return tmp_path


def test_the_rule_publishes_tables_and_relative_links(cohort):
    job = split_job(cohort, tissue={"min_side": 64}, sub_images={"side": 64})
    main(job)
    tissues = pd.read_parquet(job.output.tissues)
    assert tissues["tissue_id"].tolist() == ["t0", "t1", "t2"]
    assert sorted(tissues["split"]) == ["test", "train", "train"]
    assert set(pd.read_parquet(job.output.cells)["tissue_id"]) == {"t0", "t1", "t2"}
    sub_images = pd.read_parquet(job.output.sub_images)
    assert sub_images.columns.tolist() == [
        "tissue_id",
        "row",
        "col",
        "height",
        "width",
        "tissue_fraction",
    ]
    assert sub_images.groupby("tissue_id").size().to_dict() == {"t0": 4, "t1": 4, "t2": 4}
    table = pd.read_csv(job.output.split)
    assert table.columns.tolist() == ["tissue_id", "patient_id", "split"]
    assert table["split"].tolist() == tissues["split"].tolist()
    excluded = pd.read_csv(job.output.exclusions)
    assert excluded["tissue_id"].tolist() == ["small", "empty"]
    folder = cohort / "cohorts/c"
    for path, target in (
        ("imc/1_0mpp/images", "images"),
        ("segmentations/1_0mpp/tissue_masks", "tissue_masks"),
        ("segmentations/1_0mpp/cell_masks/instances", "cell_masks"),
    ):
        assert not os.path.isabs(os.readlink(folder / path))
        assert (folder / path).resolve() == cohort / "ingest/c" / target
    main(job)  # a second time, over its own links


def test_a_cohort_of_which_nothing_is_left_is_legal(cohort):
    job = split_job(cohort)
    main(job)
    assert len(pd.read_csv(job.output.exclusions)) == 5
    tissues = pd.read_parquet(job.output.tissues)
    assert tissues.empty
    assert {"tissue_id", "patient_id", "split", "height"} <= set(tissues.columns)
    assert pd.read_parquet(job.output.cells).empty
    sub_images = pd.read_parquet(job.output.sub_images)
    assert sub_images.empty
    assert sub_images["row"].dtype == "int64"
    assert pd.read_csv(job.output.split).empty


def test_a_cohort_without_a_single_tissue_is_legal(tmp_path):
    write_ingest(tmp_path / "ingest/c", {}, {}, {}, channel_table(["A"], ["P1"]))
    job = split_job(tmp_path)
    main(job)
    assert pd.read_parquet(job.output.sub_images).empty
    assert pd.read_csv(job.output.exclusions).columns.tolist() == ["tissue_id", "reason"]
