"""The readers, which share nothing with the simulator, find in its archives what it put there."""

import numpy as np
import pandas as pd
import pytest
import zarr

from demo.simulator.cells import neighbours
from demo.simulator.patients import stained
from demo.simulator.wang2023 import TOUCHING
from workflow_scripts.cohorts.ingest import ingest
from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.common.cohort import load_cohort

# The granularity that holds the planted types, cells that a clump of antibody hit are dropped, and
# clinical columns with what the simulator calls them.
READ = {
    "damond2019": ("cell_type", False, {"stage": "stage"}),
    "danenberg2022": ("phenotype", True, {"ERBB2_pos": "ERBB2_pos", "PAM50": "PAM50"}),
    "cords2024": ("cell_type", False, {"DX.name": "DX.name", "Grade": "Grade"}),
    "wang2023": ("phenotype", True, {"pCR": "pCR", "Arm": "Arm", "BiopsyPhase": "BiopsyPhase"}),
    "hoch2022": ("phenotype", False, {"Cancer_Stage": "Cancer_Stage", "Mutation": "Mutation"}),
    "rigamonti": ("cell_type", False, {}),
    "meyer2025": ("cell_type", False, {"PID_group_risk": "PID_group_risk", "grade": "grade"}),
    "jackson2020": ("cell_type", False, {"clinical_type": "clinical_type", "grade": "grade"}),
    "moldoveanu2022": ("cell_type", False, {"Response": "Response", "Treatment": "Treatment"}),
    "immucan2024": ("cell_type", True, {}),
}
MASKED = ("cords2023", "zhu2025")  # masks without a table of cells
BARE = ("hu2023", "schulz2018", "allam2022")  # neither masks nor cells


def source_of(archive):
    return read_source(archive.files, load_cohort(f"demo/cohorts/{archive.id}.yaml"))


def found_tissues(archive, source):
    """Return [(the simulator's tissue, the reader's tissue)], matched by their pixels."""
    read = {tissue.load_image().tobytes(): tissue for tissue in source.tissues}
    assert len(read) == len(archive.truth.tissues) == len(source.tissues)
    tissues = archive.truth.tissues
    return [(tissue, read[tissue.image.astype(np.float32).tobytes()]) for tissue in tissues]


def cells_of(source, tissue):
    return source.cells[source.cells.tissue_id == tissue.tissue_id].sort_values("cell_id")


def check_patients(truth, patients):
    owners = np.array(truth.owners)
    same = np.array(patients)[:, None] == np.array(patients)[None]
    np.testing.assert_array_equal(same, owners[:, None] == owners[None])


def check_panel(archive, source):
    markers = [entry["marker"] for entry in archive.section["panel"]]
    assert source.panel["channel_name"].tolist() == markers
    for (_, found), sample in zip(
        found_tissues(archive, source), archive.truth.samples, strict=True
    ):
        absent = np.array(markers)[~stained(archive.section, sample.attributes)]
        assert list(found.absent) == absent.tolist()


@pytest.mark.parametrize("name", [*MASKED, *BARE])
def test_readers_find_images_without_a_table_of_cells(name, archives):
    archive = archives(name)
    source = source_of(archive)
    check_panel(archive, source)
    patients = []
    for tissue, found in found_tissues(archive, source):
        patients.append(found.patient_id)
        if name in MASKED:
            np.testing.assert_array_equal(found.load_mask(), tissue.cell_mask)
        else:
            assert found.load_mask is None
    assert source.cells is None
    check_patients(archive.truth, patients)


@pytest.mark.parametrize("name", READ)
def test_readers_find_what_was_written(name, archives, danenberg):
    archive = archives(name)
    label, drops, columns = READ[name]
    truth, source = archive.truth, source_of(archive)
    check_panel(archive, source)
    patients = []
    for (tissue, found), sample in zip(found_tissues(archive, source), truth.samples, strict=True):
        mask = found.load_mask()
        if archive is danenberg and tissue is truth.tissues[-1]:  # numbered in reverse
            mask = np.where(mask > 0, len(tissue.types) + 1 - mask, 0)
        np.testing.assert_array_equal(mask, tissue.cell_mask)
        cells = cells_of(source, found)
        kept = np.flatnonzero(~tissue.aggregate) if drops else np.arange(len(tissue.types))
        assert cells.cell_id.tolist() == (kept + 1).tolist()
        assert cells[label].tolist() == [tissue.types[i] for i in kept]
        for column, name in columns.items():
            assert str(found.clinical[column]).lower() in spelt(sample.attributes[name])
        patients.append(found.patient_id)
    check_patients(truth, patients)


def test_the_reader_finds_the_neighbours_that_were_written(archives):
    archive = archives("wang2023")
    source = source_of(archive)
    pairs = source.neighbours
    assert set(pairs["tissue_id"]) == {tissue.tissue_id for tissue in source.tissues}
    for tissue, found in found_tissues(archive, source):
        own = pairs.loc[pairs["tissue_id"] == found.tissue_id, ["from", "to"]].to_numpy()
        np.testing.assert_array_equal(own, neighbours(tissue.cell_mask, TOUCHING))


def spelt(value):
    """Return how a table may spell a value: pandas reads 2 as 2.0 where another row is empty."""
    text = str(value).lower()
    return {text, f"{text}.0"} if text.isdigit() else {text}


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("damond2019", {"cell_category": {"islet", "exocrine", "immune", "other", "unknown"}}),
        (
            "danenberg2022",
            {
                "cell_type": {
                    *("T Cell", "B Cell", "Myeloid", "APC", "Stromal"),
                    *("ER+ epithelial", "ER- epithelial"),
                }
            },
        ),
        (
            "cords2024",
            {"cell_category": {"Tumour", "Fibroblast", "Immune", "T cell", "vessel", "Other"}},
        ),
        ("wang2023", {"cell_category": {"tumor", "T cell", "immune", "stroma"}}),
        (
            "hoch2022",
            {"cell_type": {"Tumor", "Stroma", "T-Cell", "Macrophage", "Lymphocyte", "Other"}},
        ),
        (
            "rigamonti",
            {"cell_category": {"Tumour", "Fibroblast", "Immune", "T cell", "vessel", "Other"}},
        ),
        ("jackson2020", {"cell_category": {"tumor", "stroma", "immune"}}),
    ],
)
def test_every_planted_type_has_a_class(name, classes, archives):
    source = source_of(archives(name))
    for label, expected in classes.items():
        assert set(source.cells[label]) == expected
    assert not [warning for warning in source.warnings if "has no class" in warning]


def test_finer_classes_of_wang(wang):
    """Text of the study: the 19 fine classes, of which 11 are simulated."""
    fine = source_of(wang).cells.cell_type.unique()
    named = (
        "fibroblasts,dendritic / APC,macrophage,B / plasma cell,NK,neutrophils,tumor,hypoxic tumor"
    )
    named += ",EMT-like tumor,DNA-damaged cell,apoptotic cell,CD4 T cell,CD8 T cell"
    assert len(fine) == 11 and set(fine) <= {*named.split(","), "PD-L1+IDO+ cell"}


def test_structures_of_danenberg_are_the_niches(danenberg):
    source = source_of(danenberg)
    without = 0
    for tissue, found in found_tissues(danenberg, source):
        cells = cells_of(source, found)
        niches = np.array(tissue.cell_niches)[cells.cell_id - 1]
        for niche, structure in zip(niches, cells.tme_structure, strict=True):
            # A cell that touches no other is on no edge, and so in no structure.
            assert structure == niche or structure is None
            without += structure is None and niche != "Tumour"
        assert cells.tme_structure[niches == "Tumour"].isna().all()
    assert without < 0.1 * len(source.cells)


def test_patients_of_wang_are_followed(wang):
    truth, source = wang.truth, source_of(wang)
    visits = pd.DataFrame([{"id": t.patient_id, **t.clinical} for t in source.tissues])
    assert visits.groupby("id").BiopsyPhase.nunique().tolist() == [3, 3]
    assert visits.groupby("id").pCR.first().tolist() == ["pCR", "RD"]
    assert set(visits.Arm) == {"C&I"} and len(truth.patients) == 5


def test_what_cords_cannot_give_is_told(cords):
    source = source_of(cords)
    assert "tissue 175_B_90 is left out: the acquisition is unreadable" in source.warnings
    assert any("Ar80, Xe131" in warning for warning in source.warnings)
    assert any("tissues without an image" in warning for warning in source.warnings)
    blocks = {tissue.tissue_id.rsplit("_", 1)[0] for tissue in source.tissues}
    assert blocks == {"175_B", "176_A", "86_C"}


def ingested(archive, folder):
    """Return the source, the folders below `folder`, and what ingesting the source gives."""
    folders = {key: folder / key for key in ("images", "cell_masks", "tissue_masks")}
    for place in folders.values():
        place.mkdir()
    source, cohort = source_of(archive), load_cohort(f"demo/cohorts/{archive.id}.yaml")
    return source, folders, ingest(source, cohort, folders, sigma=2.0)


def test_a_misaligned_mask_of_danenberg_is_aligned_by_coordinates(danenberg, tmp_path):
    source, _, (_, cells, summary) = ingested(danenberg, tmp_path)
    tissue, found = found_tissues(danenberg, source)[-1]
    (note,) = [text for text in summary["warnings"] if "aligned by coordinates" in text]
    assert found.tissue_id in note
    mine = cells[cells.tissue_id == found.tissue_id]
    types = [tissue.types[len(tissue.types) - cell] for cell in mine.cell_id]
    # A cell whose centroid lies on a neighbour gets the neighbour's number.
    assert (mine.phenotype.to_numpy() == types).mean() > 0.97
    assert len(mine) > 0.9 * len(tissue.types)


@pytest.mark.parametrize("name", ["cords2024", "wang2023", "hoch2022"])
def test_ingested_images_and_cells_are_those_simulated(name, archives, tmp_path):
    archive = archives(name)
    source, folders, (tissues, cells, summary) = ingested(archive, tmp_path)
    for tissue, found in found_tissues(archive, source):
        image = zarr.open(folders["images"] / f"{found.tissue_id}.ome.zarr/0")[:]
        np.testing.assert_array_equal(image, tissue.image)
        row = tissues.set_index("tissue_id").loc[found.tissue_id]
        assert (row.height, row.width) == tissue.cell_mask.shape
        # Otsu cuts between cells and fibres: less than the tissue, more than a sub-image needs.
        assert 0.35 < row.tissue_fraction < (tissue.niche_map >= 0).mean()
        mine = cells[cells.tissue_id == found.tissue_id]
        at = mine.y.round().astype(int), mine.x.round().astype(int)
        # The centroid of a long cell may lie beside it.
        assert (tissue.cell_mask[at] == mine.cell_id).mean() > 0.95
    assert len(cells) == len(source.cells) and summary["cells_not_in_mask"] == 0
    assert summary["warnings"][:-1] == source.warnings
    assert "no UniProt accession" in summary["warnings"][-1]
