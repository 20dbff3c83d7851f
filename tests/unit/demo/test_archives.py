"""The archives: same bytes for the same seed, and an API answer that agrees with its files."""

import hashlib
import json
import zipfile
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

from demo import simulate
from demo.simulate import write_archive
from demo.simulator import damond2019
from demo.simulator.archives import csv_bytes
from demo.simulator.cohort import LAYOUTS, read_effects
from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.errors import InputError

COHORTS = [f"sim_{layout}" for layout in LAYOUTS]


def written(folder, cohort_id, settings):
    write_archive(cohort_id, read_effects(), settings, folder / "files", folder / "record.json")
    return {path.name: path.read_bytes() for path in (folder / "files").iterdir()}


@pytest.mark.parametrize("cohort_id", COHORTS)
def test_the_seed_fixes_every_byte(cohort_id, settings, tmp_path):
    first = written(tmp_path / "a", cohort_id, settings)
    assert written(tmp_path / "b", cohort_id, settings) == first
    other = written(tmp_path / "c", cohort_id, settings | {"seed": 1})
    assert other.keys() == first.keys()
    archives = [name for name in first if name.endswith((".zip", ".tar.gz", ".7z"))]
    archives.remove("Fig_2 FISH IMC comparison.7z") if "schulz" in cohort_id else None
    assert archives and all(other[name] != first[name] for name in archives)


def test_a_further_tissue_leaves_the_others_as_they_are(settings, tmp_path):
    names = []
    for number in (2, 3):
        folder = tmp_path / str(number)
        written(folder, "sim_danenberg2022", settings | {"tissues": {"sim_danenberg2022": number}})
        with zipfile.ZipFile(folder / "files" / "MBTMEStrIMCPublic.zip") as file:
            stacks = [name for name in file.namelist() if "FullStack" in name]
            names.append([hashlib.md5(file.read(name)).hexdigest() for name in stacks])
    assert names[1][:2] == names[0]
    assert len(names[1]) == 3


@pytest.mark.parametrize("cohort_id", COHORTS)
def test_writing_again_replaces_what_was_there(cohort_id, settings, tmp_path):
    first = written(tmp_path, cohort_id, settings | {"seed": 1})
    (tmp_path / "files" / "stray.txt").write_text("left over")
    again = written(tmp_path, cohort_id, settings)
    assert again.keys() == first.keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "record.json"]


def test_mendeley_answer_agrees_with_the_files(damond):
    listing = json.loads(damond.record.read_text())
    assert isinstance(listing, list)
    names = "ImageSubset.zip Masks.zip Cells.zip Image.zip CellTypes.zip Donors.zip panel.csv"
    assert {*names.split(), "ChannelMass.csv"} <= {entry["filename"] for entry in listing}
    assert {entry["filename"] for entry in listing} == {p.name for p in damond.files.iterdir()}
    for entry in listing:
        details = entry["content_details"]
        with urlopen(details["download_url"]) as answer:
            content = answer.read()
        assert entry["size"] == details["size"] == len(content)
        assert details["sha256_hash"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("danenberg2022", ["MBTMEStrIMCPublic.zip"]),
        ("wang2023", ["NTPublic.zip"]),
        ("hoch2022", ["full_data.zip", "data_for_analysis.zip"]),
        (
            "cords2024",
            [
                "20201228_LC_NSCLC_TMA_175_B.mcd.zip",
                "20210104_LC_NSCLC_TMA_176_A.mcd.zip",
                "2020120_LC_NSCLC_TMA_86_C.mcd.zip",
                "comp_csv_files.zip",
                "Cell masks.zip",
                "SingleCellExperiment Objects.zip",
            ],
        ),
        (
            "rigamonti",
            ["images.zip", "masks.zip", "panel.csv", "cells.csv", "tissues.csv", "README.txt"],
        ),
        (
            "meyer2025",
            ["ZTMA174_raw.zip", "ZTMA249_raw.zip", "masks.zip", "sce_ALL_colData.csv"],
        ),
        (
            "jackson2020",
            [
                "OMEandSingleCellMasks.zip",
                "singlecell_locations.zip",
                "singlecell_cluster_labels.zip",
                "SingleCell_and_Metadata.zip",
            ],
        ),
        (
            "moldoveanu2022",
            [
                "Moldoveanu2022-cytof-RAW.tar.gz",
                "Moldoveanu_2022_CyTOF_melanoma.tar.gz",
                "moldoveanu2022_panel.csv",
            ],
        ),
        ("cords2023", ["ometiff.zip", "Cell Masks.zip", "cp-output_config.zip"]),
        ("hu2023", ["IMC.zip"]),
        (
            "zhu2025",
            ["img.zip", "masks_deepcell.zip", "RawPanel.csv", "images.csv", "README.txt"],
        ),
        ("allam2022", ["SpatialVizScore.zip"]),
        ("immucan2024", ["images_masks.zip", "sce_labelled_V3_colData.csv"]),
    ],
)
def test_zenodo_answer_agrees_with_the_files(name, files, archives):
    record = json.loads(archives(name).record.read_text())
    assert [file["key"] for file in record["files"]] == files
    described = load_cohort(f"demo/cohorts/sim_{name}.yaml").files
    unread = {"README.txt", "images.csv"}
    assert [file["name"] for file in described] == [name for name in files if name not in unread]
    for file in record["files"]:
        with urlopen(file["links"]["self"]) as answer:
            content = answer.read()
        assert file["size"] == len(content)
        assert file["checksum"] == "md5:" + hashlib.md5(content).hexdigest()


def test_addresses_are_valid_wherever_the_repository_lies(settings, tmp_path, monkeypatch):
    home = tmp_path / "a place & more"
    home.mkdir()
    monkeypatch.chdir(home)
    written(Path("results"), "sim_damond2019", settings)
    monkeypatch.chdir(tmp_path)
    listing = json.loads((home / "results" / "record.json").read_text())
    with urlopen(listing[0]["content_details"]["download_url"]) as answer:
        assert len(answer.read()) == listing[0]["size"]


# Where each archive says what it is, and a file that it lacks or holds in another form.
READMES = {
    "danenberg2022": ("MBTMEStrIMCPublic.zip", "MBTMEIMCPublic/README.txt", "CellNeighbours.fst"),
    "cords2024": ("SingleCellExperiment Objects.zip", "README.txt", "sce_all_annotated.rds"),
    "wang2023": ("NTPublic.zip", "NTPublic/README.txt", ".fst"),
    "hoch2022": ("full_data.zip", "full_data/README.txt", "sce_RNA.rds"),
    "meyer2025": ("masks.zip", "README.txt", "sce_ALL.rds"),
    "jackson2020": ("SingleCell_and_Metadata.zip", "README.txt", "SC_dat.csv"),
    "moldoveanu2022": (
        "Moldoveanu_2022_CyTOF_melanoma.tar.gz",
        "Moldoveanu_2022_CyTOF_melanoma/Data/README.txt",
        "supplement",
    ),
    "cords2023": ("cp-output_config.zip", "README.txt", "IMC_dataobjects.zip"),
    "hu2023": ("IMC.zip", "README.txt", ".h5ad"),
    "allam2022": ("SpatialVizScore.zip", "README.txt", ".h5ad"),
    "immucan2024": ("images_masks.zip", "README.txt", "sce_labelled_V3.rds"),
}


@pytest.mark.parametrize("name", READMES)
def test_the_archive_says_that_it_is_simulated(name, archives):
    zipped, member, other = READMES[name]
    text = archives(name).read(zipped, member).decode()
    assert text.startswith("Simulated data.")
    assert other in text and "Not imitated:" in text and "CSV" in text


@pytest.mark.parametrize("name", ["damond2019", "rigamonti", "zhu2025"])
def test_a_flat_archive_says_so_beside_its_files(name, archives):
    assert (archives(name).files / "README.txt").read_text().startswith("Simulated data.")


def test_script_writes_what_the_rule_declares(job):
    simulate.main(job)
    assert len(json.loads(Path(job.output.records[0]).read_text())) == 9
    assert (Path(job.output.files[0]) / "Masks.zip").exists()


def test_a_failure_leaves_no_archive(job, monkeypatch):
    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(damond2019, "_donors", fails)
    with pytest.raises(OSError):
        simulate.main(job)
    assert not Path(job.output.records[0]).exists() and not Path(job.output.files[0]).exists()


def test_a_cohort_without_a_simulator_is_named(settings, tmp_path):
    with pytest.raises(InputError, match="'sim_risom2022' cannot be simulated; expected one of"):
        written(tmp_path, "sim_risom2022", settings)
    with pytest.raises(InputError, match="'damond2019' cannot be simulated"):
        written(tmp_path, "damond2019", settings)


def test_more_tissues_than_slide_letters_are_refused(settings, tmp_path):
    few = settings | {"tissues": {"sim_damond2019": 27}, "side": [64, 64], "cells": 4}
    with pytest.raises(InputError, match="simulation.tissues: 27.*at most 26"):
        written(tmp_path, "sim_damond2019", few)
    assert not (tmp_path / "files").exists()
    with pytest.raises(InputError, match="simulation.tissues: sim_hoch2022 is missing"):
        written(tmp_path, "sim_hoch2022", few)


def test_csv_values_are_written_as_r_writes_them():
    row = [1, None, True, 0.1234567, "a b", np.float64(2)]
    assert csv_bytes(["i", "n", "b", "f", "s", "g"], [row]) == (
        b"i,n,b,f,s,g\n1,NA,TRUE,0.123457,a b,2\n"
    )
