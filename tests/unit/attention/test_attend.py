"""The stage on small cohorts: maps, statements, what is planted, and what is bad."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.unit.cohort_folders import write_published
from virtues_core import VirTues, VirTuesConfig, save_weights
from virtues_core.inspection import ChannelSummaries
from workflow_scripts.attention import attend, figS20
from workflow_scripts.attention.fine_tune import attention_on, fine_tune, look, stitch
from workflow_scripts.common.cohort_files import MASKS
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.images import write_mask
from workflow_scripts.common.targets import load_targets
from workflow_scripts.markers.embed_markers import write_embeddings

SIDE, ACCESSIONS = 32, ["P1", "P2", "P3", "P4"]
SETTINGS = {"crop": SIDE, "stride": 20, "batch": 8}
ATTENTION = {
    "label": "kind",
    "shown": ["adeno", "squamous"],
    "tumour": ["tumour"],
    "fewest_cells": 3,
    "bootstrap": 50,
    "fine_tune": {"steps": 3, "batch": 4, "learning_rate": 1e-3, "weight_decay": 0.0},
    "regions": [
        {"name": "mixed", "cells": [["tumour"], ["T"]], "named": ["marker 0"], "top": 4},
        {"name": "stroma", "cells": [["fibroblast"]], "named": ["marker 1"], "top": 1},
        {"name": "immune-dense", "cells": [["T"]], "named": ["marker 9"], "top": 1},
    ],
}
TARGET = next(target for target in load_targets() if target["id"] == "figS20")
TASK = {"column": "subtype"}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def small_model(markers=4):
    torch.manual_seed(0)
    config = VirTuesConfig(width=32, feedforward=32, heads=2, encoder="hvhv", decoder="f")
    return VirTues(config, torch.randn(markers, config.marker_width))


@pytest.fixture
def study(tmp_path):
    """Return a function that writes a cohort and a model and returns the jobs of both rules.

    Tissues 0 to 3 are for training and 4 to 7 for the test, adeno and squamous in turn.
    """

    def write(side=96, label="kind", accessions=ACCESSIONS, subtypes=("adeno", "squamous")):
        rng, folder, model = np.random.default_rng(0), tmp_path / "c", tmp_path / "model"
        tissues = {
            f"t{i}": (rng.normal(size=(4, side, side)).astype("float16"), accessions, split)
            for i, split in enumerate(["train"] * 4 + ["test"] * 4)
        }
        whole = [(tissue, 0, 0, side, side) for tissue in tissues]
        write_published(folder, tissues, whole if side >= SIDE else [])
        table = pd.read_parquet(folder / "metadata/tissues.parquet")
        table["patient_id"] = table["tissue_id"].str.replace("t", "p")
        table["subtype"] = [subtypes[i % 2] for i in range(len(table))]
        table.to_parquet(folder / "metadata/tissues.parquet")
        mask = np.kron(np.arange(1, 37).reshape(6, 6), np.ones((side // 6, side // 6), int))
        kinds = np.resize(["tumour", "T", "fibroblast"], 36)
        y, x = np.divmod(np.arange(36), 6) * np.array(side // 6) + side // 12
        cells = pd.DataFrame({"cell_id": range(1, 37), "x": x, "y": y, label: kinds})
        cells = pd.concat([cells.assign(tissue_id=tissue) for tissue in tissues])
        cells.to_parquet(folder / "metadata/cells.parquet")
        for tissue in tissues:
            write_mask(
                folder / MASKS / "tissue_masks" / f"{tissue}.npz", np.ones((side, side), bool)
            )
            write_mask(folder / MASKS / "cell_masks/instances" / f"{tissue}.npz", mask)
        trained = small_model()
        model.mkdir()
        save_weights(trained, model / "model.safetensors")
        card = {"model": trained.config.to_dict(), "accessions": ACCESSIONS}
        (model / "config.json").write_text(json.dumps(card))
        card = {"instance": "all14", "weights_sha256": "0"}
        (model / "metrics.json").write_text(json.dumps(card))
        vectors = dict(zip(ACCESSIONS, trained.marker_embeddings, strict=True))
        write_embeddings(tmp_path / "embeddings.safetensors", vectors, "table")
        files = {
            name: tmp_path / f"{name}.{end}"
            for name, end in dict(
                importance="parquet", tissues="parquet", maps="npz", facts="json"
            ).items()
        }
        params = SimpleNamespace(
            attention=ATTENTION,
            settings=SETTINGS,
            min_coverage=0.3,
            device="cpu",
            cohort_folder=folder,
            model_folder=model,
            task=TASK,
            where="c: tasks.subtype",
            seed=0,
            target=TARGET,
            side=SIDE,
            simulated=True,
        )
        first = SimpleNamespace(
            input=SimpleNamespace(embeddings=tmp_path / "embeddings.safetensors"),
            output=SimpleNamespace(**files),
            params=params,
        )
        cells = folder / "metadata/cells.parquet"
        inputs = SimpleNamespace(**files, metrics=model / "metrics.json", cells=cells)
        output = SimpleNamespace(numbers=tmp_path / "figS20/numbers.json")
        return first, SimpleNamespace(input=inputs, output=output, params=params)

    return write


def run(jobs):
    attend.main(jobs[0])
    figS20.main(jobs[1])
    return json.loads(jobs[1].output.numbers.read_text())


def test_the_stage_from_images_to_the_figure(study):
    jobs = study()
    record = run(jobs)
    numbers, folder = record["numbers"], jobs[1].output.numbers.parent
    assert record["picture"] and (folder / "figS20.svg").exists()
    assert numbers["C156"]["value"] == 1  # any of four markers is among the top four
    assert "over targets (D17), mean over 2 patients" in numbers["C156"]["careful"]["label"]
    assert numbers["C157"]["value"] in (0, 1)
    assert numbers["C158"]["status"] == "not run: the panel lacks marker 9"
    assert numbers["subtype_accuracy"]["n"] == 4 and numbers["subtype_accuracy"]["careful"]
    ratings = pd.read_parquet(jobs[0].output.importance)
    assert ratings["as_printed"].notna().all() and ratings["over_targets"].between(0, 8).all()
    assert set(ratings["tissue_id"].dropna()) == {"t4", "t5", "t6", "t7"}
    assert set(ratings["region"]) == {"tissue", "cohort", "mixed", "stroma", "immune-dense"}
    with np.load(jobs[0].output.maps) as maps:
        assert maps["t4"].shape == (2, 12, 12) and np.isfinite(maps["t4"]).all()
    before = [path.read_bytes() for path in sorted(folder.iterdir())]
    tables = jobs[0].output.importance.read_bytes(), jobs[0].output.maps.read_bytes()
    run(jobs)
    assert before == [path.read_bytes() for path in sorted(folder.iterdir())]
    assert tables == (jobs[0].output.importance.read_bytes(), jobs[0].output.maps.read_bytes())


def test_a_cohort_of_tissues_smaller_than_a_crop_has_no_figure(study):
    record = run(study(side=24))
    assert not record["picture"]
    assert record["status"].startswith("not run: no test tissue of a subtype holds a crop")


def test_without_published_cell_types_there_are_no_regions(study):
    record = run(study(label="another"))
    assert record["picture"]
    assert record["numbers"]["C156"]["status"] == "not run: no tissue shown has a region of mixed"
    on_tumour = record["numbers"]["attention_on_tumour_adeno"]
    assert on_tumour["status"] == "not run: no tissue has the cells that this needs"


def test_one_subtype_alone_teaches_nothing(study):
    record = run(study(subtypes=("adeno", "adeno")))
    assert not record["picture"] and "one subtype only" in record["status"]


def test_a_panel_that_the_model_does_not_know_is_told(study):
    with pytest.raises(InputError, match="tissue t4: the model knows none of its 4 channels"):
        attend.main(study(accessions=["Q1", "Q2", "Q3", "Q4"])[0])


def test_tissues_of_the_test_split_are_looked_at_if_they_have_both_classes():
    table = pd.DataFrame({"tissue_id": list("abcd"), "split": ["train", "test", "test", "test"]})
    classes = pd.Series({"a": "x", "b": "x", "c": "y", "d": None}, dtype=object)
    assert attend.inspected(table, classes, ["x", "y"]) == ["b", "c"]
    assert attend.inspected(table, classes, ["x", "z"]) == ["a", "b", "c"]


def test_overlapping_maps_are_averaged():
    windows = [np.s_[0:16, 0:16], np.s_[0:16, 8:24]]
    values = np.stack([np.full((2, 2), 1.0), np.full((2, 2), 3.0)])
    assert stitch(windows, values, (16, 24), 8).tolist() == [[1, 2, 3], [1, 2, 3]]
    # A window that starts within a patch counts for its share of pixels; the rim is cut.
    values = np.array([[[1.0]], [[3.0]]])
    windows = [np.s_[0:8, 0:8], np.s_[0:8, 4:12]]
    assert stitch(windows, values, (8, 12), 8).tolist() == [[1.5]]


def test_attention_on_some_cells_over_that_on_others():
    labels = np.kron(np.array([[1, 2], [3, 0]]), np.ones((8, 8), int))
    attention = np.array([[4.0, 1.0], [3.0, 9.0]])
    assert attention_on(labels, np.array([-1, 1, 0, 0]), attention, 8) == 2.0
    assert attention_on(labels, np.array([-1, 1, 0, -1]), attention, 8) == 4.0
    assert np.isnan(attention_on(labels, np.array([-1, 0, 0, -1]), attention, 8))


class BrightCrops:
    """A stream in which crops of tissue `bright` have a bright first channel; odd ones, no class.

    Some crops have a channel less.
    """

    tissue_ids = np.array(["dark", "odd", "bright"], dtype=object)

    def locate(self, n):
        return n // 3, n % 3

    def __getitem__(self, n):
        rng = np.random.default_rng(n)
        image = rng.normal(0, 0.3, (3 + n % 2, SIDE, SIDE)).astype("float16")
        image[0] += 2 * (n % 3 == 2)
        return image, np.arange(len(image))


def test_planted_brightness_is_learned_and_nothing_else_is():
    summaries = ChannelSummaries(small_model())
    head = torch.nn.Linear(32, 2)
    settings = {"steps": 30, "batch": 8, "learning_rate": 3e-3, "weight_decay": 0.0}
    losses = fine_tune(summaries, head, BrightCrops(), {"dark": 0, "bright": 1}, settings, seed=0)
    assert np.mean(losses[-5:]) < 0.1 < losses[0]
    tissue = np.ones((40, 56), bool)
    for kind in (0, 1):
        image = np.random.default_rng(9).normal(0, 0.3, (3, 40, 56)).astype(np.float32)
        image[0] += 2 * kind
        found, maps = look(summaries, head, image, np.arange(3), tissue, SETTINGS, 0.3)
        assert found[kind] > 0.8 and found.sum() == pytest.approx(1)
        assert maps.shape == (2, 5, 7) and maps[0].max() < 16 and abs(maps[1].mean() - 1) < 0.05
    nowhere, _ = look(summaries, head, image, np.arange(3), ~tissue, SETTINGS, 0.3)
    assert nowhere is None


def test_the_median_tissue_with_most_regions_is_shown():
    about = pd.DataFrame(
        {
            "tissue_id": list("abcde"),
            "subtype": ["x"] * 5,
            "predicted": ["x", "x", "x", "x", "y"],
            "probability": [0.9, 0.6, 0.8, 0.99, 0.1],
        }
    )
    ratings = pd.DataFrame({"tissue_id": list("aabbccdee"), "region": list("uvuvuvuuv"), "row": 0})
    assert figS20.choose(about, ratings, "x") == "c"  # of a, b, c; d has one region, e is wrong
    assert figS20.choose(about, ratings, "z") is None


def test_the_mean_of_patients_with_its_interval():
    values = np.array([1.0, 3.0, 2.0, np.nan, 6.0])
    mean, low, high, n = figS20.patient_mean(values, list("aabcd"), 500, 0)
    assert (mean, n) == (3.0, 3) and low < 3 < high
    assert figS20.patient_mean(np.array([np.nan]), ["a"], 10, 0) == (None, None, None, 0)
