"""The cohort files of the study on small archives built as the data sheets describe them."""

import zipfile
from io import BytesIO

import numpy as np
import pytest
import tifffile

from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.errors import InputError


def tiff(array):
    file = BytesIO()
    tifffile.imwrite(file, array, photometric="minisblack")
    return file.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


def stack(channels, seed, dtype):
    return np.random.default_rng(seed).poisson(3, (channels, 12, 10)).astype(dtype)


def mask(*cells):
    array = np.zeros((12, 10), np.uint16)
    for row, cell in enumerate(cells):
        array[2 * row : 2 * row + 2, 1:4] = cell
    return array


METALS = (
    "In113 In115 Pr141 Nd142 Nd143 Nd144 Nd145 Nd146 Sm147 Nd148 Sm149 Nd150 Sm152 Eu153 Sm154 "
    "Gd155 Gd156 Gd158 Tb159 Gd160 Dy161 Dy162 Dy163 Dy164 Ho165 Er166 Er167 Er168 Tm169 Er170 "
    "Yb171 Yb172 Yb173 Yb174 Lu175 Yb176 Ir191 Ir193"
).split()
TARGETS = (
    "H3 SMA INS CD38 CD44 PCSK2 CD99 CD68 MPO SLC2A1 CD20 AMY2A CD3e PPY PIN PD-1 GCG PDX1 SST SYP "
    "KRT19 CD45 FOXP3 CD45RA CD8a CA9 IAPP Ki-67 NKX6-1 pHH3 CD4 CD31 CDH1 PTPRN pRb "
    "cPARP_cCASP3 DNA1 DNA2"
).split()


@pytest.fixture
def pancreas(tmp_path):
    """Build the layout of Damond 2019; ChannelMass.csv differs from the order of the YAML file."""
    order = METALS[::-1]
    (tmp_path / "ChannelMass.csv").write_text("\n".join(order) + "\n")
    rows = [f"{i},{m},{t},1" for i, (m, t) in enumerate(zip(METALS, TARGETS, strict=True))]
    panel = "TubeNb,MetalTag,Target,full\n" + "\n".join(rows) + "\n99,Y89,unused,0\n"
    (tmp_path / "panel.csv").write_text(panel)
    archive(
        tmp_path / "ImageSubset.zip",
        **{
            "E02_a0_full_clean.tiff": tiff(stack(38, 0, np.uint16)),
            "J01_a0_full_clean.tiff": tiff(stack(38, 1, np.float32)),
            "__MACOSX/._E02_a0_full_clean.tiff": b"litter of another system",
        },
    )
    archive(
        tmp_path / "Masks.zip",
        **{
            "E02_a0_full_mask.tiff": tiff(mask(1, 2)),
            "J01_a0_full_mask.tiff": tiff(mask(7, 9)),
            "A01_a0_full_mask.tiff": tiff(mask(1)),
        },
    )
    cells = "id,core,CellType,CellCat\nE02_1,E02,beta,islet\nE02_2,E02,alpha,islet\n"
    cells += "J01_7,J01,Th,immune\nJ01_9,J01,unknown,unknown\nA01_1,A01,beta,islet\n"
    archive(tmp_path / "CellTypes.zip", **{"CellTypes.csv": cells})
    table = "ImageNumber,ObjectNumber,Location_Center_X,Location_Center_Y,Parent_Islets\n"
    table += "5,1,2.0,0.5,1\n5,2,2.0,2.5,1\n8,7,2.25,0.5,0\n8,9,,,0\n"
    archive(tmp_path / "Cells.zip", **{"All_Cells.csv": table})
    archive(
        tmp_path / "Image.zip", **{"All_Image.csv": "ImageNumber,Metadata_Core\n5,E02\n8,J01\n"}
    )
    donors = "slide,part,case,group,stage,duration,Age,Gender,Ethnicity,BMI\n"
    donors += "E,Tail,6126,1,Non-diabetic,,25.2,M,Caucasian,25.1\n"
    donors += "J,Head,6278,2,Onset,0,10,F,Caucasian,16.8\n"
    archive(tmp_path / "Donors.zip", **{"Donors.csv": donors})
    return tmp_path


def test_damond2019(pancreas):
    source = read_source(pancreas, load_cohort("damond2019"))
    # "Channel order = order of metals in ChannelMass.csv; panel.csv rows filtered full == 1".
    assert list(source.panel["original_channel_name"]) == METALS[::-1]
    assert list(source.panel["channel_name"])[:2] == ["DNA2", "DNA1"]
    assert list(source.panel["index"]) == list(range(38))
    insulin = source.panel.set_index("channel_name")["uniprot_id"]
    assert insulin["INS"] == insulin["PIN"] == "P01308"
    # "image -> donor: first letter of the core = slide -> Donors.slide -> case".
    assert [(t.tissue_id, t.patient_id, t.specimen_id) for t in source.tissues] == [
        ("E02", "6126", "E"),
        ("J01", "6278", "J"),
    ]
    assert source.tissues[1].clinical["stage"] == "Onset"
    assert source.tissues[0].original_file_name == "E02_a0_full_clean.tiff"
    for seed, (tissue, dtype) in enumerate(
        zip(source.tissues, (np.uint16, np.float32), strict=True)
    ):
        image = tissue.load_image()
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, stack(38, seed, dtype))
    np.testing.assert_array_equal(source.tissues[1].load_mask(), mask(7, 9))
    # "CellTypes.csv: id = <core>_<ObjectNumber>"; A01 has no image here.
    cells = source.cells
    assert list(cells["tissue_id"]) == ["E02", "E02", "J01", "J01"]
    assert list(cells["cell_id"]) == [1, 2, 7, 9]
    assert list(cells["cell_type"]) == ["beta", "alpha", "Th", "unknown"]
    assert list(cells["cell_category"]) == ["islet", "islet", "immune", "unknown"]
    np.testing.assert_array_equal(cells["x"], [2.0, 2.0, 2.25, np.nan])
    assert list(cells["islet"]) == [1, 1, 0, 0]
    assert source.warnings == [
        "1 cell masks have no image: A01",
        "All_Image.csv has no row for 1 of 5 cells",
        "All_Cells.csv has no row for 1 of 5 cells",
        "CellTypes.csv: 1 cells belong to 1 tissues without an image and are left out",
    ]


def test_an_exchanged_antibody_is_noticed(pancreas):
    """Most metals of the panel are inferred: the archive's own names decide."""
    text = (pancreas / "panel.csv").read_text().replace("Nd142,CD38", "Nd142,CD3")
    (pancreas / "panel.csv").write_text(text)
    with pytest.raises(InputError, match="panel.csv calls channel 'Nd142' 'CD3', .* 'CD38'"):
        read_source(pancreas, load_cohort("damond2019"))


def test_another_metal_is_noticed(pancreas):
    (pancreas / "ChannelMass.csv").write_text("\n".join(METALS).replace("Sm152", "Eu151"))
    sentence = "38 channels and the panel names 38: not in the panel: Eu151; only .*: Sm152"
    with pytest.raises(InputError, match=sentence):
        read_source(pancreas, load_cohort("damond2019"))


EPITOPES = (
    "Histone H3,SMA,CK5,CD38,HLA-DR,CK8-18,CD15,FSP1,CD163,ICOS,OX40,CD68,HER2 (3B5),CD3,"
    "Podoplanin,CD11c,PD-1,GITR,CD16,HER2 (D8F12),CD45RA,B2M,CD45RO,FOXP3,CD20,ER,CD8,CD57,Ki-67,"
    "PDGFRB,Caveolin-1,CD4,CD31-vWF,CXCL12,HLA-ABC,panCK,c-Caspase3,DNA1,DNA2"
).split(",")
ISOTOPES = (
    "In113 In115 Pr141 Nd142 Nd143 Nd144 Nd145 Nd146 Sm147 Nd148 Sm149 Nd150 Eu151 Sm152 Eu153 "
    "Sm154 Gd155 Gd156 Gd158 Tb159 Gd160 Dy161 Dy162 Dy163 Dy164 Ho165 Er166 Er167 Er168 Tm169 "
    "Er170 Yb171 Yb172 Yb173 Yb174 Lu175 Yb176 Ir191 Ir193"
).split()
CLINICAL = (
    "metabric_id,ERStatus,ERBB2_pos,Grade,PAM50,IntClust,LymphNodesOrdinal,sizeOrdinal,"
    "yearsToStatus,DeathBreast,isValidation\nMB-0000,pos,FALSE,3,Luminal B,9,1,2,8.5,1,FALSE\n"
    "MB-0002,neg,TRUE,NA,HER2,5,0,1,12.25,0,TRUE\n"
)


def breast(folder, isotopes, clinical_inside=True):
    """Build the layout of Danenberg 2022, record 6036188, with the corrected masks beside it."""
    root, cells = "MBTMEIMCPublic", "ImageNumber,ObjectNumber,metabric_id,cellPhenotype,"
    cells += "is_epithelial,is_tumour,is_hotAggregate,Location_Center_X,Location_Center_Y,SMA\n"
    cells += "64,1,MB-0000,CD8^{+} T cells,0,0,0,2.0,0.5,3\n"
    cells += "64,2,MB-0000,Ep Ki67^{+},1,1,0,2.0,2.5,3\n"
    cells += "64,3,MB-0000,Macrophages,0,0,1,2.0,4.5,3\n"  # a hot aggregate
    cells += "70,1,MB-0002,Never seen,0,0,0,2.0,0.5,3\n"
    order = "".join(f"{i},{e}\n" for i, e in zip(isotopes, EPITOPES, strict=True))
    members = {
        f"{root}/Images/MB0000_64_FullStack.tiff": tiff(stack(39, 0, np.float32)),
        f"{root}/Images/MB0002_70_FullStack.tiff": tiff(stack(39, 1, np.float32)),
        f"{root}/Images/MB0003_110_FullStack.tiff": b"",  # one of three without a usable image
        f"{root}/Images/MB0000_64_CellMask.tiff": tiff(mask(9, 9)),  # shifted in this record
        f"{root}/markerStackOrder.csv": "Isotope,Epitope\n" + order,
        f"{root}/SingleCells.csv": cells,
    }
    if clinical_inside:
        members[f"{root}/IMCClinical.csv"] = CLINICAL
    archive(folder / "MBTMEStrIMCPublic.zip", **members)
    archive(
        folder / "correctedPublicMasks.zip",
        **{
            "correctedPublicMasks/MB0000_64_CellMask.tiff": tiff(mask(1, 2, 3)),
            "correctedPublicMasks/MB0000_64_NucleusMask.tiff": tiff(mask(8)),
            "correctedPublicMasks/MB0002_70_CellMask.tiff": tiff(mask(1)),
        },
    )
    return folder


@pytest.mark.parametrize("swapped", [False, True])
def test_danenberg2022(tmp_path, swapped):
    """Isotope may be In113 or 113In: the sheet does not say."""
    isotopes = [i[2:] + i[:2] for i in ISOTOPES] if swapped else ISOTOPES
    source = read_source(breast(tmp_path, isotopes), load_cohort("danenberg2022"))
    assert list(source.panel["channel_name"]) == EPITOPES
    her2 = source.panel.set_index("channel_name")["uniprot_id"]
    assert her2["HER2 (3B5)"] == her2["HER2 (D8F12)"] == "P04626"
    # "hyphen in table, no hyphen in file name".
    assert [(t.tissue_id, t.patient_id) for t in source.tissues] == [
        ("MB0000_64", "MB-0000"),
        ("MB0002_70", "MB-0002"),
    ]
    np.testing.assert_array_equal(source.tissues[1].load_image(), stack(39, 1, np.float32))
    np.testing.assert_array_equal(source.tissues[0].load_mask(), mask(1, 2, 3))
    assert source.tissues[0].clinical["PAM50"] == "Luminal B"
    assert source.tissues[1].clinical["yearsToStatus"] == 12.25
    # "is_hotAggregate (drop ==1, artefact)"; label == ObjectNumber after correction.
    assert list(source.cells["cell_id"]) == [1, 2, 1]
    assert list(source.cells["cell_type"]) == ["T Cell", "ER+ epithelial", None]
    assert list(source.cells["cell_phenotype"])[1] == "Ep Ki67^{+}"
    assert source.warnings == [
        "tissue MB0003_110 is left out: the archive has no usable image or mask for it",
        "cell table CellNeighbours.csv is absent; convert CellNeighbours.fst of record 7324285 to "
        "CSV and put it beside the archives",
        "cell table TMEStructuresAnnotation.csv is absent; put it from record 7324285 beside the "
        "archives",
        "cells.maps.cell_type has no class for 'Never seen' (1 cells)",
    ]


def test_a_converted_table_beside_the_archive_serves(tmp_path):
    """IMCClinical is an .fst in the archive: a CSV beside it, or no clinical columns."""
    folder, cohort = breast(tmp_path, ISOTOPES, clinical_inside=False), load_cohort("danenberg2022")
    source = read_source(folder, cohort)
    assert source.tissues[0].clinical == {}
    assert "clinical table IMCClinical.csv is absent, its columns too; convert" in str(
        source.warnings
    )
    (folder / "IMCClinical.csv").write_text(CLINICAL)
    assert read_source(folder, cohort).tissues[0].clinical["ERStatus"] == "pos"


def test_structures_of_the_microenvironment_are_those_of_a_cells_edges(tmp_path):
    """A structure stands on the edges within it; those that leave it have none."""
    folder, cohort = breast(tmp_path, ISOTOPES), load_cohort("danenberg2022")
    assert read_source(folder, cohort).cells["tme_structure"].isna().all()
    edges = "from,to,ImageNumber,metabric_id,TMEStructure\n"
    edges += "1,2,64,MB-0000,3\n1,3,64,MB-0000,3\n1,4,64,MB-0000,NA\n1,9,70,MB-0002,10\n"
    (folder / "CellNeighbours.csv").write_text(edges)
    table = "print_order,colours,Label\n3,red,TLS-like\n10,blue,Vascular stroma\n"
    (folder / "TMEStructuresAnnotation.csv").write_text(table)
    source = read_source(folder, cohort)
    assert list(source.cells["tme_structure"].fillna("")) == ["TLS-like", "", "Vascular stroma"]
    assert any(w.startswith("CellNeighbours.csv has no row for 1 of 3") for w in source.warnings)
