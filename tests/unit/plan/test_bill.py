"""Estimates of a study's cost against what is measured, and against themselves."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from virtues_core import VirTuesConfig, independent_mask, pack
from workflow_scripts.common.cohort import ROOT, load_cohort
from workflow_scripts.plan.bill import (
    IMAGES,
    SUB_IMAGES,
    Size,
    cohort_size,
    crop_flops,
    downloads,
    hours,
    training_crops,
    training_tflop,
)
from workflow_scripts.pretrain.cost import work_of

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def test_flops_of_a_crop_are_those_that_training_counts():
    """Without left-out channels, on packed crops, at the paper's sizes of the model."""
    pretrain = CONFIG["pretrain"] | {"crop": 64, "channel_dropout": [0.0, 0.0]}
    generator = torch.Generator().manual_seed(0)
    crops, channels = 60, 12
    images = [torch.zeros(channels, 64, 64)] * crops
    masks = [independent_mask(channels, (8, 8), (0.6, 1.0), generator) for _ in range(crops)]
    packed = pack(images, [torch.arange(channels)] * crops, masks, 8)
    model = CONFIG["model"]
    keys = ("width", "feedforward", "heads", "encoder", "decoder")
    counted = work_of(VirTuesConfig(**{key: model[key] for key in keys}))(packed).flops / crops
    assert crop_flops(model, pretrain, channels) == pytest.approx(counted, rel=0.02)


def test_a_crop_of_forty_channels_takes_about_a_teraflop_and_a_half():
    assert crop_flops(CONFIG["model"], CONFIG["pretrain"], 40) == pytest.approx(1.5e12, rel=0.05)


def test_hours_follow_rate_and_share():
    assert hours(3.6e6, 100, 0.5) == pytest.approx(20)
    assert hours(3.6e6, 200, 0.5) == pytest.approx(hours(3.6e6, 100, 0.5) / 2)


def test_an_epoch_reads_every_sub_image_and_steps_override_it():
    sizes = {"a": Size(1, 100, 1, 1, 1, "measured"), "b": Size(1, 300, 1, 1, 1, "measured")}
    settings = {"epochs": 3, "max_steps": None, "batch": 8}
    assert training_crops(sizes, settings) == {"a": 300, "b": 900}
    assert training_crops(sizes, settings | {"max_steps": 5}) == {"a": 10, "b": 30}


def test_a_training_is_billed_for_its_own_cohorts():
    sizes = {name: Size(1, 100, 1, 40, 40, "measured") for name in ("a", "b")}
    work = training_tflop(
        {"both": ["a", "b"], "one": ["a"]}, sizes, CONFIG["model"], CONFIG["pretrain"]
    )
    assert work["both"] == pytest.approx(2 * work["one"])
    crop = crop_flops(CONFIG["model"], CONFIG["pretrain"], 40) / 1e12
    assert work["one"] == pytest.approx(100 * CONFIG["pretrain"]["epochs"] * crop)


def test_a_cohort_has_its_measured_size_once_it_is_split(tmp_path):
    cohort = load_cohort("danenberg2022")
    before = cohort_size(cohort, tmp_path, CONFIG)
    assert before.origin == "published number of images" and before.images == 794
    assert before.train_sub_images == pytest.approx(794 * SUB_IMAGES / IMAGES * 0.8)
    assert (before.channels, before.proteins) == (39, 37)
    (tmp_path / "metadata").mkdir()
    table = {"tissue_id": ["a", "b"], "split": ["train", "test"], "height": 600, "width": 500}
    pd.DataFrame(table).to_parquet(tmp_path / "metadata/tissues.parquet")
    drawn = pd.DataFrame({"tissue_id": ["a", "a", "b"]})
    drawn.to_parquet(tmp_path / "sub_images.parquet")
    after = cohort_size(cohort, tmp_path, CONFIG)
    assert (after.images, after.train_sub_images, after.origin) == (2, 2, "measured")
    assert after.stored_bytes == 600_000 * (4 * 39 + 2 * 37)


def test_a_cohort_of_unknown_size_is_an_average_one_and_a_held_out_one_trains_nothing(tmp_path):
    assert cohort_size(load_cohort("cords2023"), tmp_path, CONFIG).origin.startswith("average")
    held_out = cohort_size(load_cohort("meyer2025"), tmp_path, CONFIG)
    assert held_out.train_sub_images == 0 and held_out.stored_bytes > 0


def test_the_whole_collection_is_about_the_papers_when_every_cohort_is_average():
    """259,000 sub-images over 8,887 images are 29 each, and four per fitting window."""
    average = cohort_size(load_cohort("cords2023"), "nowhere", CONFIG)
    side = np.sqrt(average.pixels / average.images)
    assert 600 < side < 800  # px of a typical image; that of the reference tissue is 697 x 597


def test_downloads_are_what_is_neither_here_nor_of_known_size(tmp_path):
    cohort = load_cohort("damond2019")
    known, unknown = downloads(cohort, tmp_path)
    assert known == 0 and "ImageSubset.zip" in unknown and len(unknown) == 8
    (tmp_path / "Masks.zip").touch()
    answer = [
        {
            "filename": name,
            "size": 1700,
            "content_details": {"download_url": "u", "sha256_hash": "0" * 64, "size": 1700},
        }
        for name in ("ImageSubset.zip", "Cells.zip")
    ]
    record = cohort.source["record"]
    kept = "".join(c if c.isalnum() else "_" for c in record)
    while "__" in kept:
        kept = kept.replace("__", "_")
    (tmp_path / f"{kept}.json").write_text(json.dumps(answer))
    known, unknown = downloads(cohort, tmp_path)
    assert known == 3400 and "Masks.zip" not in unknown and len(unknown) == 5
