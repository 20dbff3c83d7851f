"""Panels, sizes and label maps of the cohorts, from tables as they are published."""

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.common.cohort import ROOT, load_cohort
from workflow_scripts.common.marker_names import read_aliases
from workflow_scripts.common.targets import RESOURCES
from workflow_scripts.overview.fig1b import draw, marker_order, organ_number, panel_numbers
from workflow_scripts.overview.fig1c import size_numbers
from workflow_scripts.overview.label_maps import label_map
from workflow_scripts.overview.panels import cohort_panel, read_panels
from workflow_scripts.overview.sizes import cohort_size, patients_on_both_sides
from workflow_scripts.overview.tableS1 import all_cohorts, leaking
from workflow_scripts.overview.tableS2 import marker_table

PANELS = {
    "lung": [("aSMA", "P62736"), ("Histone H3", "P68431"), ("DNA1", None)],
    "breast": [("SMA", "P62736"), ("HER2 (3B5)", "P04626"), ("HER2 (D8F12)", "P04626")],
    "skin": [("H3", "P68431"), ("new marker", "Q99999")],
}


@pytest.fixture
def panels(tmp_path):
    paths = []
    for cohort, channels in PANELS.items():
        table = pd.DataFrame(channels, columns=["channel_name", "uniprot_id"])
        paths.append(tmp_path / cohort / "imc/channels.parquet")
        paths[-1].parent.mkdir(parents=True)
        table.assign(is_nuclear_marker=False).to_parquet(paths[-1])
    return read_panels(paths, read_aliases(RESOURCES / "markers.csv"))


def test_a_marker_has_one_name_in_all_cohorts(panels):
    assert panels.groupby("cohort")["channel"].nunique().to_dict() == {
        "lung": 2,
        "breast": 3,
        "skin": 2,
    }
    names = panels.set_index(["cohort", "channel"])["marker"]
    assert names["lung", "aSMA"] == names["breast", "SMA"]
    assert names["lung", "Histone H3"] == names["skin", "H3"]
    assert names["breast", "HER2 (3B5)"] == names["breast", "HER2 (D8F12)"]
    assert names["skin", "new marker"] == "new marker"


def test_a_name_with_another_accession_is_not_the_marker_of_the_table():
    channels = {"channel_name": ["SMA"], "uniprot_id": ["Q00000"], "is_nuclear_marker": [False]}
    aliases = {"sma": {"marker": "alpha-SMA", "uniprot": "P62736", "kind": "protein"}}
    assert cohort_panel("c", pd.DataFrame(channels), aliases)["marker"].tolist() == ["SMA"]


def test_numbers_count_markers_accessions_and_cohorts(panels):
    organs = {"lung": ["lung", "tonsil"], "breast": ["breast"], "skin": ["skin", "head and neck"]}
    numbers = panel_numbers(panels, ["skin"], organs, ["breast"], missing=0)
    values = {claim: entry["value"] for claim, entry in numbers.items()}
    assert values == {"C005": 4, "C006": 3, "C007": 4, "C008": 2, "C013": 1}
    assert numbers["C005"]["careful"]["value"] == 4
    assert numbers["C007"]["careful"]["value"] == 5
    assert numbers["C013"]["reason"] == "breast"
    assert panel_numbers(panels, [], {"lung": []}, [], missing=2)["C007"]["status"].startswith(
        "not run: "
    )


def test_organs_of_the_fifteen_cohorts():
    paths = (ROOT / "cohorts").glob("*.yaml")
    organs = {cohort.id: cohort.organs for cohort in map(load_cohort, paths)}
    assert all(organs.values()) and len(organs) == 15
    entry = organ_number(organs)
    assert (entry["value"], entry["careful"]["value"]) == (8, 9)


def test_shared_markers_come_first_and_every_marker_has_its_spoke(panels):
    order = marker_order(panels)
    shared = panels.groupby("marker")["cohort"].nunique()
    assert [shared[marker] for marker in order] == [2, 2, 1, 1]
    figure = draw(panels)
    assert {text.get_text() for text in figure.axes[0].texts} == set(order)
    bars = sum(len(bars) for bars in figure.axes[0].containers)
    # A grey ring of every marker per cohort, and the markers that each has.
    assert bars == 3 * len(order) + 2 + 2 + 2


def test_the_table_of_markers_names_the_channels_of_each_cohort(panels):
    table = marker_table(panels).set_index("uniprot")
    assert table.loc["P04626", "breast"] == "HER2 (3B5); HER2 (D8F12)"
    assert table.loc["P04626", "lung"] == "" and len(table) == 4


def test_sizes_count_what_passed_the_filters(tmp_path):
    folder = tmp_path / "lung"
    (folder / "metadata").mkdir(parents=True)
    tissues = pd.DataFrame(
        {
            "tissue_id": ["a", "b", "c"],
            "patient_id": ["p", "p", "q"],
            "split": ["train", "train", "test"],
            "height": 1000,
            "width": 500,
            "tissue_fraction": [0.5, 1.0, 0.5],
        }
    )
    tissues.to_parquet(folder / "metadata/tissues.parquet")
    pd.DataFrame({"tissue_id": ["a"] * 5}).to_parquet(folder / "sub_images.parquet")
    pd.DataFrame({"cell_id": []}).to_parquet(folder / "metadata/cells.parquet")
    size = cohort_size(folder)
    assert size == {
        "cohort": "lung",
        "patients": 2,
        "images": 3,
        "train_images": 2,
        "test_images": 1,
        "sub_images": 5,
        "cells": 0,
        "tissue_mm2": 1.0,
    }
    both = pd.DataFrame([size, size | {"cells": 7}])
    values = {claim: entry["value"] for claim, entry in size_numbers(both, missing=0).items()}
    assert values == {"C001": 4, "C002": 6, "C003": 10, "C004": 7, "C009": 1}
    some = size_numbers(both, missing=2)["C001"]
    assert some["status"] == (
        "not run: 2 of the paper's cohorts are not in this study; without them 4"
    )


def test_a_label_map_counts_cells_also_of_labels_that_do_not_occur():
    maps = {
        "coarse": {"from": "fine", "to": {"T": ["CD4", "CD8"], "B": ["B"]}, "provenance": "a\n b"}
    }
    cells = pd.DataFrame({"fine": ["CD4", "CD4", "B", None]})
    table = label_map(maps, cells)
    assert table["phenotype"].tolist() == ["CD4", "CD8", "B"]
    np.testing.assert_array_equal(table["cells"], [2, 0, 1])
    assert set(table["provenance"]) == {"a b"}


def test_the_table_of_cohorts_has_all_fifteen_with_the_published_sizes_beside_ours():
    cohort = load_cohort("danenberg2022")
    row = {"cohort": "danenberg2022", "images": 700, "patients": 600, "tissue_mm2": 1.5}
    table = all_cohorts(pd.DataFrame([row]), [cohort], {"wang2023": "given on request"})
    assert len(table) == 15 and table["cohort"].is_unique
    rows = table.set_index("cohort")
    ours = rows.loc["danenberg2022"]
    assert (ours["images"], ours["published_images"], ours["status"]) == (700, 794, "ingested")
    assert rows.loc["wang2023", "status"] == "not run: given on request"
    assert rows.loc["hu2023", "status"] == "not run: not among the cohorts of this study"
    assert pd.isna(rows.loc["hu2023", "images"]) and pd.isna(rows.loc["hu2023", "published_images"])


def test_a_patient_of_two_cohorts_is_named_where_it_is_on_both_sides(tmp_path, caplog):
    splits = {
        "lung": {"A1": "train", "B2": "train", "12": "train", "C3": "test"},
        "skin": {"A1": "test", "B2": "train", "12": "test", "D4": "test"},
    }
    for cohort, split in splits.items():
        path = tmp_path / cohort / "metadata/tissues.parquet"
        path.parent.mkdir(parents=True)
        pd.DataFrame({"patient_id": split.keys(), "split": split.values()}).to_parquet(path)
    found = patients_on_both_sides([tmp_path / cohort for cohort in splits])
    assert found == {"A1": ["lung", "skin"]}  # B2 trains in both, and 12 is a number of each
    entry = leaking(found)
    assert entry["value"] == 1 and "A1 of lung and skin: if the ids are of one" in entry["reason"]
    assert "`split` of both cohort files" in caplog.text
    assert leaking({})["value"] == 0
