"""Rigamonti, Meyer, Jackson and Moldoveanu, held against their dataset sheets (quoted)."""

import io
import re

import numpy as np
import pandas as pd
from scipy.ndimage import center_of_mass

ROOT = "Data_publication"


def lie_in(mask, table, x, y, label):
    """Tell whether the coordinates of a table's cells are the centroids of their labels."""
    centres = np.array(center_of_mass(mask > 0, mask, table[label]))
    return np.allclose(table[[x, y]], centres[:, ::-1], rtol=1e-4)


# --- Rigamonti 2024 ------------------------------------------------------------------------


def test_rigamonti_has_the_form_that_is_asked_for(archives):
    # "user-supplied folder + panel.csv (channel, marker, uniprot) + cells.csv (image_id, cell_id,
    # cell_type)"; "Mf, aSMA+, CD8+, Bcells, Vim, Tumor cells, CD4+, vessels, Treg, Ki67+, other"
    archive = archives("rigamonti")
    panel, cells, tissues = (
        pd.read_csv(archive.files / name) for name in ("panel.csv", "cells.csv", "tissues.csv")
    )
    assert list(panel) == ["channel", "marker", "uniprot"] and len(panel) == 10
    assert list(cells) == ["image_id", "cell_id", "cell_type"]
    assert list(tissues) == ["image_id", "patient_id"] and tissues.patient_id.nunique() == 4
    named = "Mf,aSMA+,CD8+,Bcells,Vim,Tumor cells,CD4+,vessels,Treg,Ki67+,other"
    assert set(cells.cell_type) <= set(named.split(","))
    for name in tissues.image_id:
        image = archive.tiff("images.zip", f"{name}.tiff")
        mask = archive.tiff("masks.zip", f"{name}.tiff")
        assert image.shape == (10, *mask.shape)
        assert cells.cell_id[cells.image_id == name].tolist() == np.unique(mask)[1:].tolist()
    # "Lacks histone H3 consistently"; "CD14 (seen elsewhere), CD63 (new, only here)"
    stated = {"CD68": "P34810", "CD14": "P08571", "CD63": "P08962", "PanCytokeratin": "P02533"}
    assert stated.items() <= dict(zip(panel.marker, panel.uniprot, strict=True)).items()
    assert not panel.marker.str.contains("Histone").any()


# --- Meyer 2025 ----------------------------------------------------------------------------


def test_meyer_has_a_text_file_per_acquisition(archives):
    # "zip -> one folder per TMA slide -> one .txt per acquisition"; "ZTMA174.1_ZTMA174_B06.02565_3_
    # AX3Y1_42 ; ZTMA249.3_ZTMA249_ID_99_AX3Y13_321"; "txt labels are truncated ("Histone_126")";
    # "Ar/Xe/Ru/Ba background have no antibody number in the label"
    archive, found = archives("meyer2025"), 0
    for array in ("ZTMA174", "ZTMA249"):
        for name in archive.names(f"{array}_raw.zip"):
            slide, stem = re.fullmatch(
                rf"({array}\.\d)/\1_({array}_.+_AX3Y\d+_\d+)\.txt", name
            ).groups()
            shots = pd.read_csv(io.BytesIO(archive.read(f"{array}_raw.zip", name)), sep="\t")
            place = ["Start_push", "End_push", "Pushes_duration", "X", "Y", "Z"]
            assert list(shots)[:8] == [*place, "80ArAr(Ar80Di)", "131Xe(Xe131Di)"]
            antibodies = list(shots)[8:]
            assert len(antibodies) == 13
            for column in antibodies:
                assert re.fullmatch(r".{1,7}_\d+\(\(\d+\)\)\w+\([A-Z][a-z]\d{3}Di\)", column)
            masses = [int(re.search(r"(\d{3})Di\)$", column)[1]) for column in antibodies]
            assert masses == sorted(masses)
            mask = archive.tiff("masks.zip", f"{slide}_{stem}.tiff")
            assert len(shots) == mask.size and mask.dtype == np.uint16
            assert (shots.X.max() + 1, shots.Y.max() + 1) == mask.shape[::-1]
            found += 1
    assert found == 5


def test_meyer_cells_carry_the_clinical_values(archives):
    # "cell: ObjectNumber, cell_id = sample_id + "_" + ObjectNumber; coords Pos_X, Pos_Y";
    # "OS_months + status_OS; DFS_months + status_DFS"; "spatial_CD8_pheno (inflamed / excluded /
    # cold)"; "PID_group_risk (low = inflamed, high = BL, medium = rest)"
    archive = archives("meyer2025")
    cells = pd.read_csv(archive.files / "sce_ALL_colData.csv")
    assert (cells.sample_id + "_" + cells.ObjectNumber.astype(str)).equals(cells.cell_id)
    for sample, table in cells.groupby("sample_id"):
        mask = archive.tiff("masks.zip", f"{sample}.tiff")
        assert lie_in(mask, table, "Pos_X", "Pos_Y", "ObjectNumber")
    labels = r"tumor_\d+|CD8_T_cell|CD4_T_cell|B_cell|Macrophage|HLA_DR|Neutrophil|Stromal"
    assert cells.metacluster_combined.str.fullmatch(labels).all()
    # "analysis_cat (tumor / non_tumor)", of a cell: an image has both.
    assert cells.groupby("sample_id").analysis_cat.nunique().max() == 2
    patients = cells.groupby("PID")
    clinical = ["OS_months", "status_OS", "DFS_months", "status_DFS", "PID_group_risk"]
    assert patients[clinical].nunique().eq(1).all(axis=None) and len(patients) == 4
    assert (cells.DFS_months <= cells.OS_months).all() and (cells.DFS_months > 0).all()
    assert set(cells.status_OS) | set(cells.status_DFS) <= {0, 1}
    assert set(cells.spatial_CD8_pheno) <= {"inflamed", "excluded", "cold"}
    risk = cells.BL_CD8_group_merg.map({"inflamed": "low", "BL": "high"}).fillna("medium")
    assert risk.equals(cells.PID_group_risk) and set(risk) == {"low", "medium", "high"}


# --- Jackson 2020 --------------------------------------------------------------------------


def jackson_tables(archive, name):
    folder = {"Basel": "BaselTMA", "Zuri": "ZurichTMA"}[name]
    member = f"{ROOT}/{folder}/{name}_PatientMetadata.csv"
    return archive.table("SingleCell_and_Metadata.zip", member)


def test_jackson_zips_are_nested_and_masks_misspelt(archives):
    # "OMEnMasks/ome.zip -> ome/ome/*.tiff"; "OMEnMasks/Basel_Zuri_masks.zip -> Basel_Zuri_masks/
    # *_full_maks.tiff"; "core starts BaselTMA_SP... or ZTMA208_slide_..."; "name = image name with
    # ".tiff" -> "_maks.tiff""
    archive, nested = archives("jackson2020"), "OMEandSingleCellMasks.zip"
    images = archive.names(f"{nested}!OMEnMasks/ome.zip")
    masks = archive.names(f"{nested}!OMEnMasks/Basel_Zuri_masks.zip")
    assert len(images) == len(masks) == 6
    for name, mask in zip(images, masks, strict=True):
        assert re.fullmatch(r"ome/ome/(BaselTMA_SP41|ZTMA208_slide)_.*_full\.tiff", name)
        stem = name.removeprefix("ome/ome/").removesuffix(".tiff")
        assert mask == f"Basel_Zuri_masks/{stem}_maks.tiff"
    assert sum("Liver" in name for name in images) == 1


def test_jackson_pages_are_those_of_the_panel(archives):
    # "page order: column FullStack is 1-based"; "pages 1..8 = Ar80, Ru96, ...; 9 In113; 10, 11
    # unlisted"; "one fully blank row; duplicated metals"; 'Gd156 "Rabbit IgG H L" = ER alpha'
    archive = archives("jackson2020")
    panel = archive.table("SingleCell_and_Metadata.zip", f"{ROOT}/Basel_Zuri_StainingPanel.csv")
    blank = (panel == "").all(axis=1)
    assert blank.sum() == 1
    panel = panel[~blank].astype({"FullStack": float}).astype({"FullStack": int})
    assert (
        panel["Metal Tag"][:9].tolist()
        == "Ar80 Ru96 Ru98 Ru99 Ru100 Ru101 Ru102 Ru104 In113".split()
    )
    assert panel.FullStack.tolist()[:10] == [*range(1, 10), 12]
    twice = panel[panel["Metal Tag"].duplicated()]
    assert set(twice["Metal Tag"]) == {"Yb172", "Lu175"}
    assert panel.Target[panel["Metal Tag"] == "Gd156"].tolist() == ["Rabbit IgG H L"]
    zipped = "OMEandSingleCellMasks.zip!OMEnMasks/ome.zip"
    for name in archive.names(zipped):
        assert len(archive.tiff(zipped, name)) == panel.FullStack.max() == 8 + 13 + 2


def test_jackson_cells_are_counted_by_the_rank_of_their_label(archives):
    # "mask labels are not sequential, single-cell CellId is the RANK of the label"; 'id =
    # "<core>_<CellId>"'; "columns id, core, Location_Center_X, Location_Center_Y"; "sep ';',
    # columns 'Metacluster ' (trailing space), 'Cell type', 'Class'"
    archive, seen = archives("jackson2020"), 0
    zipped = "singlecell_cluster_labels.zip"
    names = archive.table(zipped, "Cluster_labels/Metacluster_annotations.csv", ";")
    assert list(names) == ["Metacluster ", "Cell type", "Class"]
    stated = {1: "B cells", 3: "T cells", 4: "macrophages", 7: "endothelial", 23: "CK+ HR hi tumor"}
    assert (
        stated.items() <= dict(zip(names["Metacluster "], names["Cell type"], strict=True)).items()
    )
    for centre, patients, labels in (
        ("Basel", "Basel", "Basel_metaclusters"),
        ("Zurich", "Zuri", "Zurich_matched_metaclusters"),
    ):
        places = archive.table("singlecell_locations.zip", f"{centre}_SC_locations.csv")
        clusters = archive.table(zipped, f"Cluster_labels/{labels}.csv")
        assert places.id.tolist() == clusters.id.tolist() and places.id.is_unique
        for row in jackson_tables(archive, patients).itertuples():
            stem = row.FileName_FullStack.removesuffix(".tiff")
            mask = archive.tiff(
                "OMEandSingleCellMasks.zip!OMEnMasks/Basel_Zuri_masks.zip",
                f"Basel_Zuri_masks/{stem}_maks.tiff",
            )
            known = np.unique(mask)[1:]
            assert known.max() > len(known) == row.Count_Cells  # gaps
            table = places[places.core == row.core]
            table = table.assign(label=known[table.id.str.rsplit("_", n=1).str[1].astype(int) - 1])
            assert lie_in(mask, table, "Location_Center_X", "Location_Center_Y", "label")
            seen += len(table)
    assert seen > 500


def test_jackson_clinical(archives):
    # "core, FileName_FullStack, PID, diseasestatus (tumor / non-tumor), grade, tumor_type,
    # clinical_type (HR+HER2-, HR+HER2+, HR-HER2+, TripleNeg), ... OSmonth, DFSmonth, Patientstatus"
    tables = [jackson_tables(archives("jackson2020"), name) for name in ("Basel", "Zuri")]
    table = pd.concat(tables)
    assert set(table.diseasestatus) == {"tumor", "non-tumor"}
    tumours = table[table.diseasestatus == "tumor"]
    assert set(tumours.clinical_type) <= {"HR+HER2-", "HR+HER2+", "HR-HER2+", "TripleNeg"}
    assert (tumours.DFSmonth.astype(int) <= tumours.OSmonth.astype(int)).all()
    assert set(tumours.grade.astype(int)) <= {1, 2, 3} and tumours.PID.nunique() == 4


# --- Moldoveanu 2022 -----------------------------------------------------------------------

RAW, DATA = "Moldoveanu2022-cytof-RAW.tar.gz", "Moldoveanu_2022_CyTOF_melanoma.tar.gz"


def test_moldoveanu_has_a_file_per_channel_and_litter(archives):
    # "The tar contains AppleDouble ._* files"; "CP_output_tiff/; one sub-folder per sample"; "file
    # name ends _<Element><mass>.tiff"; "<filename>_ilastik_s2_Probabilities_mask.tiff"
    archive = archives("moldoveanu2022")
    names = archive.names(RAW)
    litter = [name for name in names if "/._" in name]
    files = [name for name in names if name not in litter]
    assert [name.replace("/._", "/") for name in litter] == files
    samples = archive.table(DATA, "Moldoveanu_2022_CyTOF_melanoma/Data/ST1_sample_info.txt", "\t")
    folders = {name.split("/")[1] for name in files}
    assert all(name.startswith("CP_output_tiff/") for name in files)
    assert folders < set(samples.filename) and len(folders) == 5  # one sample has no image
    for folder in folders:
        mine = [name for name in files if name.split("/")[1] == folder]
        metals = [re.search(r"_([A-Z][a-z]\d{3})\.tiff$", name) for name in mine]
        assert sum(map(bool, metals)) == 13 == len(mine) - 1
        assert f"CP_output_tiff/{folder}/{folder}_ilastik_s2_Probabilities_mask.tiff" in mine
        assert archive.tiff(RAW, mine[0]).ndim == 2


def test_moldoveanu_tables_are_separated_by_tabs(archives):
    # "ST4_cell_data columns: obj.id, sample.id, coord.x, coord.y, Cluster, Ki67.prob"; "Cell_ID
    # (`26BL:1`)"; "Treatment (CTLA4 / PDL1 / both), Response (Yes/No), irRC (CR/PR/SD/PD)"
    archive, folder = archives("moldoveanu2022"), "Moldoveanu_2022_CyTOF_melanoma/Data"
    cells = archive.table(DATA, f"{folder}/ST4_cell_data.txt", "\t")
    assert list(cells) == ["obj.id", "sample.id", "coord.x", "coord.y", "Cluster", "Ki67.prob"]
    assert cells["obj.id"].str.fullmatch(r"\d+(BL|RD):\d+").all() and cells["obj.id"].is_unique
    labels = "melano others macro.mono Tc.ae B Th.ae CD31 Tc.naive Th.naive Treg"
    assert set(cells.Cluster) <= set(labels.split())
    samples = archive.table(DATA, f"{folder}/ST1_sample_info.txt", "\t")
    assert set(samples.Response) == {"Yes", "No"} and set(samples.irRC) <= {"CR", "PR", "SD", "PD"}
    assert set(samples.Treatment) <= {"CTLA4", "PDL1", "both"}
    for row in samples[samples.filename != "NA"].itertuples():
        path = f"CP_output_tiff/{row.filename}/{row.filename}_ilastik_s2_Probabilities_mask.tiff"
        table = cells[cells["sample.id"] == row.Sample_ID]
        table = table.assign(label=table["obj.id"].str.rpartition(":")[2].astype(int))
        assert lie_in(archive.tiff(RAW, path), table, "coord.x", "coord.y", "label")


def test_moldoveanu_panel_writes_the_mass_first(archives):
    # "Table S3 gives `Metal-Tag` as `152Sm` (mass first) and `Target Name`, `Clone`"
    panel = pd.read_csv(archives("moldoveanu2022").files / "moldoveanu2022_panel.csv")
    assert list(panel) == ["Metal-Tag", "Target Name", "Clone"] and len(panel) == 13
    assert panel["Metal-Tag"].str.fullmatch(r"\d{3}[A-Z][a-z]").all()
    assert {"SMA", "CD8a", "SOX10", "190BCKG"} < set(panel["Target Name"])
