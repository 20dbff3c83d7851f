"""The layouts, held against the sentences of the dataset sheets (quoted in the tests)."""

import io
import re

import numpy as np
import pandas as pd
from scipy.ndimage import binary_dilation, center_of_mass
from scipy.ndimage import mean as region_mean

ZIP = "MBTMEStrIMCPublic.zip"
ROOT = "MBTMEIMCPublic"


# --- Damond 2019 ---------------------------------------------------------------------------


def cores(archive, name):
    return [member.split("_")[0] for member in archive.names(name)]


def test_damond_images_are_flat_channel_first_stacks(damond):
    # "Name <core>_a0_full_clean.tiff, core = slide letter + 2 digits, flat in the zip";
    # "uint16 or float32, channel-first pages"
    for name in damond.names("ImageSubset.zip"):
        assert re.fullmatch(r"[A-Z]\d{2}_a0_full_clean\.tiff", name)
        image = damond.tiff("ImageSubset.zip", name)
        assert image.dtype == np.uint16 and image.shape[0] == 14
        assert min(image.shape[1:]) >= 256 and max(image.shape[1:]) <= 300


def test_damond_masks_cover_more_cores_than_images(damond):
    # "<core>_a0_full_mask.tiff, 16-bit, single channel; pixel value = cell ObjectNumber";
    # "ImageSubset.zip: 100 images", "Masks.zip: all 845 cell masks"
    for name in damond.names("Masks.zip"):
        assert re.fullmatch(r"[A-Z]\d{2}_a0_full_mask\.tiff", name)
        mask = damond.tiff("Masks.zip", name)
        assert mask.dtype == np.uint16 and mask.ndim == 2
    assert set(cores(damond, "ImageSubset.zip")) < set(cores(damond, "Masks.zip"))
    assert len(cores(damond, "Masks.zip")) == 7


def test_damond_cells_are_those_of_the_masks(damond):
    # "All_Cells.csv (CellProfiler): ImageNumber, ObjectNumber, Location_Center_X/Y, AreaShape_*,
    # Neighbors_NumberOfNeighbors_3, Parent_Islets, Parent_ExpandedIslets,
    # Intensity_MeanIntensity_CleanStack_c<N>"
    cells = damond.table("Cells.zip", "All_Cells.csv")
    images = damond.table("Image.zip", "All_Image.csv").set_index("ImageNumber")
    assert list(cells)[:4] == ["ImageNumber", "ObjectNumber", *location()]
    assert [c for c in cells if c.startswith("Intensity")] == [
        f"Intensity_MeanIntensity_CleanStack_c{n}" for n in range(1, 15)
    ]
    for number, table in cells.groupby("ImageNumber"):
        mask = damond.tiff("Masks.zip", f"{images.Metadata_Core[number]}_a0_full_mask.tiff")
        assert table.ObjectNumber.tolist() == np.unique(mask)[1:].tolist()
        centres = np.array(center_of_mass(mask > 0, mask, table.ObjectNumber))
        np.testing.assert_allclose(table[location()], centres[:, ::-1], rtol=1e-4)
        np.testing.assert_array_equal(table.AreaShape_Area, np.bincount(mask.ravel())[1:])


def location():
    return ["Location_Center_X", "Location_Center_Y"]


def test_damond_intensities_are_the_means_of_the_pages(damond):
    cells = damond.table("Cells.zip", "All_Cells.csv")
    core = cores(damond, "ImageSubset.zip")[0]
    image = damond.tiff("ImageSubset.zip", f"{core}_a0_full_clean.tiff")
    mask = damond.tiff("Masks.zip", f"{core}_a0_full_mask.tiff")
    table = cells[cells.ImageNumber == 1]
    for page in (0, 5, 13):
        means = region_mean(image[page], mask, table.ObjectNumber) / 65535
        column = table[f"Intensity_MeanIntensity_CleanStack_c{page + 1}"]
        np.testing.assert_allclose(column, means, rtol=1e-4, atol=1e-12)


def test_damond_neighbours_are_cells_within_three_pixels(damond):
    cells = damond.table("Cells.zip", "All_Cells.csv")
    mask = damond.tiff("Masks.zip", damond.names("Masks.zip")[0])
    disc = np.hypot(*np.mgrid[-3:4, -3:4]) <= 3
    table = cells[cells.ImageNumber == 1].set_index("ObjectNumber")
    for cell in (1, 20, 57, 101):
        near = np.unique(mask[binary_dilation(mask == cell, disc)])
        assert table.Neighbors_NumberOfNeighbors_3[cell] == np.sum((near > 0) & (near != cell))


def test_damond_images_table(damond):
    # "ImageNumber, Metadata_Core (= image name), Metadata_Slide, FileName_CleanStack,
    # Width_CleanStack, Height_CleanStack, Count_Cells, Count_Islets"
    images = damond.table("Image.zip", "All_Image.csv")
    assert images.Metadata_Core.tolist() == cores(damond, "Masks.zip")
    assert images.Metadata_Slide.tolist() == [core[0] for core in images.Metadata_Core]
    counts = damond.table("Cells.zip", "All_Cells.csv").ImageNumber.value_counts()
    for row in images.itertuples():
        mask = damond.tiff("Masks.zip", f"{row.Metadata_Core}_a0_full_mask.tiff")
        assert mask.shape == (row.Height_CleanStack, row.Width_CleanStack)
        assert row.Count_Cells == mask.max() == counts[row.ImageNumber] <= 250
        assert row.FileName_CleanStack == f"{row.Metadata_Core}_a0_full_clean.tiff"


def test_damond_parents_say_where_the_islets_are(damond):
    cells = damond.table("Cells.zip", "All_Cells.csv")
    types = damond.table("CellTypes.zip", "CellTypes.csv")
    inside = cells.Parent_Islets.to_numpy() > 0
    endocrine = types.CellCat.to_numpy() == "islet"
    assert 0.1 < inside.mean() < 0.5
    # A cell at the edge of an islet may have its centroid outside.
    assert endocrine[inside].mean() > 0.5 and endocrine[~inside].mean() < 0.03
    assert (cells.Parent_ExpandedIslets[inside] > 0).all()
    assert (cells.Parent_ExpandedIslets > 0).sum() > inside.sum()


def test_damond_cell_types(damond):
    # "CellTypes.csv: id = <core>_<ObjectNumber> (e.g. E02_1), core, CellType, CellCat"
    types = damond.table("CellTypes.zip", "CellTypes.csv")
    assert list(types) == ["id", "core", "CellType", "CellCat"]
    cells = damond.table("Cells.zip", "All_Cells.csv")
    images = damond.table("Image.zip", "All_Image.csv").set_index("ImageNumber")
    core = images.Metadata_Core[cells.ImageNumber].to_numpy()
    assert types.id.tolist() == [f"{c}_{n}" for c, n in zip(core, cells.ObjectNumber, strict=True)]
    labels = "alpha beta delta gamma acinar ductal endothelial stromal Th Tc naiveTc B macrophage"
    assert set(types.CellType) <= {*labels.split(), "neutrophil", "otherimmune", "unknown"}
    assert {"islet", "immune"} <= set(types.CellCat)


def test_damond_donors(damond):
    # "slide, part, case (patient id), group, stage, duration, Age, Gender, Ethnicity, BMI. stage
    # values Non-diabetic / Onset / Long-duration"; "first letter of the core = slide -> case"
    donors = damond.table("Donors.zip", "Donors.csv")
    columns = "slide,part,case,group,stage,duration,Age,Gender,Ethnicity,BMI"
    assert list(donors) == columns.split(",")
    assert set(donors.stage) == {"Non-diabetic", "Onset", "Long-duration"}
    assert {core[0] for core in cores(damond, "Masks.zip")} == set(donors.slide)
    assert donors.slide.is_unique and donors.case.nunique() == 5 < len(donors)
    assert donors.groupby("case").stage.nunique().eq(1).all()


def test_damond_panel_is_matched_by_metal(damond):
    # "Channel order = order of metals in ChannelMass.csv (no header); panel.csv rows filtered
    # full == 1, then matched on MetalTag"
    order = (damond.files / "ChannelMass.csv").read_text().split()
    assert order[0] == "In113" and order[-2:] == ["Ir191", "Ir193"] and len(order) == 14
    panel = pd.read_csv(damond.files / "panel.csv")
    for column in "TubeNb MetalTag Target clean_Target shortname Clone channel full miCAT".split():
        assert column in panel
    stained = panel[panel.full == 1]
    assert set(stained.MetalTag) == set(order) and len(panel) > len(stained)
    assert stained.MetalTag.tolist() != order
    # "In115 SMA, Pr141 INS, Nd150 AMY2A, Gd155 PD-1, Er166 CA9, Ir191 DNA1"
    targets = stained.set_index("MetalTag").Target
    stated = {"In115": "SMA", "Pr141": "INS", "Nd150": "AMY2A", "Gd155": "PD-1", "Er166": "CA9"}
    assert {metal: targets[metal] for metal in stated} == stated


# --- Danenberg 2022 ------------------------------------------------------------------------


def stacks(archive):
    return [name for name in archive.names(ZIP) if name.endswith("_FullStack.tiff")]


def test_danenberg_images_and_masks(danenberg):
    # "Images/<MBdddd>_<ImageNumber>_FullStack.tiff"; "..._CellMask.tiff, ..._NucleusMask.tiff";
    # "multipage TIFF, C,Y,X; float32 likely"
    assert all(name.startswith(f"{ROOT}/") for name in danenberg.names(ZIP))
    assert len(stacks(danenberg)) == 6
    for name in stacks(danenberg):
        assert re.fullmatch(rf"{ROOT}/Images/MB\d{{4}}_\d+_FullStack\.tiff", name)
        image = danenberg.tiff(ZIP, name)
        cells = danenberg.tiff(ZIP, name.replace("FullStack", "CellMask"))
        nuclei = danenberg.tiff(ZIP, name.replace("FullStack", "NucleusMask"))
        assert image.dtype == np.float32 and image.shape == (15, *cells.shape)
        assert np.issubdtype(cells.dtype, np.integer) and cells.max() <= 250
        assert set(np.unique(nuclei)) == set(np.unique(cells))
        assert (cells[nuclei > 0] == nuclei[nuclei > 0]).all()


def test_danenberg_has_one_tissue_below_the_smallest_side(danenberg):
    sides = [min(danenberg.tiff(ZIP, name).shape[1:]) for name in stacks(danenberg)]
    assert sum(side < 256 for side in sides) == 1
    assert sides[-1] < 256


def test_danenberg_single_cells(danenberg):
    # "keys: ImageNumber, ObjectNumber, metabric_id ("MB-0000": hyphen in table, no hyphen in file
    # name)"; "intensities: 39 columns (0-based 11..49) named as Epitope"; "label == ObjectNumber"
    cells = danenberg.table(ZIP, f"{ROOT}/SingleCells.csv")
    flags = "epithelial tumour normal dcis interface perivascular hotAggregate".split()
    keys = ["ImageNumber", "ObjectNumber", "metabric_id", "cellPhenotype"]
    assert list(cells)[:11] == keys + [f"is_{flag}" for flag in flags]
    epitopes = danenberg.table(ZIP, f"{ROOT}/markerStackOrder.csv").Epitope.tolist()
    assert list(cells)[11:] == [*epitopes, "AreaShape_Area", *location()]
    for name in stacks(danenberg):
        patient, number = re.search(r"MB(\d+)_(\d+)_", name).groups()
        table = cells[cells.ImageNumber == int(number)]
        assert set(table.metabric_id) == {f"MB-{patient}"}
        mask = danenberg.tiff(ZIP, name.replace("FullStack", "CellMask"))
        assert table.ObjectNumber.tolist() == np.unique(mask)[1:].tolist()
        if name == stacks(danenberg)[-1]:
            # "published masks are MISALIGNED with SingleCells.csv for some images"
            mask = np.where(mask > 0, mask.max() + 1 - mask, 0)
        centres = np.array(center_of_mass(mask > 0, mask, table.ObjectNumber))
        np.testing.assert_allclose(table[location()], centres[:, ::-1], rtol=1e-4)
        means = region_mean(danenberg.tiff(ZIP, name)[12], mask, table.ObjectNumber)
        np.testing.assert_allclose(table["panCK"], means, rtol=1e-4)


def test_danenberg_flags(danenberg):
    cells = danenberg.table(ZIP, f"{ROOT}/SingleCells.csv")
    # "is_hotAggregate (drop ==1, artefact)"
    assert 0 < cells.is_hotAggregate.sum() < 0.02 * len(cells)
    epithelial = cells.is_epithelial == 1
    assert cells.panCK[epithelial].median() > 5 * cells.panCK[~epithelial].median()
    assert 0.1 < cells.is_interface.mean() < 0.7
    perivascular = cells[cells.is_perivascular == 1].cellPhenotype
    assert (perivascular == "Endothelial").mean() > 0.4


def test_danenberg_panel(danenberg):
    # "channel order = row order of AbPanel.csv = markerStackOrder.csv (Isotope, Epitope)";
    # "Ho165 ER (AbPanel target reads "Rabbit IgG (H+L)" = secondary antibody for ER!)";
    # "HER2 (3B5), HER2 (D8F12)"
    order = danenberg.table(ZIP, f"{ROOT}/markerStackOrder.csv")
    header = danenberg.read(ZIP, f"{ROOT}/AbPanel.csv").decode().splitlines()[0].split(",")
    assert header[:5] == "tubenumber metaltag target antibodyclone stockconcentration".split()
    assert header[-2:] == ["", "function_order"] and len(header) == 12
    panel = pd.read_csv(io.BytesIO(danenberg.read(ZIP, f"{ROOT}/AbPanel.csv")))
    assert panel.metaltag.tolist() == order.Isotope.tolist()
    differ = panel.target != order.Epitope
    assert order.Epitope[differ].tolist() == ["ER"]
    assert panel.target[differ].tolist() == ["Rabbit IgG (H+L)"]
    assert {"HER2 (3B5)", "HER2 (D8F12)"} <= set(order.Epitope)


def test_danenberg_clinical(danenberg):
    # "metabric_id; ERStatus pos / neg / NA; ERBB2_pos TRUE/FALSE; Grade; PAM50; IntClust;
    # LymphNodesOrdinal; sizeOrdinal; yearsToStatus (years) + DeathBreast (0/1); isValidation":
    # 11 columns, and patients without an image
    clinical = danenberg.table(ZIP, f"{ROOT}/IMCClinical.csv")
    assert len(clinical.columns) == 11 and clinical.metabric_id.is_unique
    assert set(clinical.ERStatus) == {"pos", "neg", "NA"}
    assert set(clinical.ERBB2_pos) <= {"TRUE", "FALSE", True, False}
    assert set(clinical.Grade) <= {1, 2, 3} and set(clinical.DeathBreast) <= {0, 1}
    assert set(clinical.PAM50) <= {"Luminal A", "Luminal B", "HER2", "Basal", "Normal-like"}
    assert clinical.yearsToStatus.between(0, 21).all()
    imaged = {"MB-" + re.search(r"MB(\d+)_", name)[1] for name in stacks(danenberg)}
    assert imaged < set(clinical.metabric_id) and len(imaged) == 5
