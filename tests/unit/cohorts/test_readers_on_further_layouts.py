"""More cohort files of the study on small archives built as the data sheets describe them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import py7zr
import pytest
import rdata

from tests.unit.cohorts.published import acquisition_text, mask, plane, stack, tarred, tiff, zipped
from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.errors import InputError


def write(folder, **files):
    for name, content in files.items():
        content = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(content)
    return folder


def tissues(source):
    return {tissue.tissue_id: tissue for tissue in source.tissues}


# Jackson 2020: nested archives, pages by a table, cells numbered by rank, two centres.
BASEL, ZURICH = "BaselTMA_SP41_2_X1Y1_a0", "ZTMA208_slide_11_By2x5_a0"
SKIPPED = ["Ar80", "Ru96", "Ru98", "Ru99", "Ru100", "Ru101", "Ru102", "Ru104"]


def staining_panel():
    """49 pages: argon and ruthenium, In113 on page 9, two unlisted, then the rest by mass."""
    rows = [(metal, "Ruthenium", page) for page, metal in enumerate(SKIPPED, 1)]
    panel = load_cohort("jackson2020").panel
    pages = [9, *range(12, 50)]
    rows += [(r["channel"], r["marker"], page) for r, page in zip(panel, pages, strict=True)]
    rows += [("Lu175", "AE3 keratin", 46), ("", "", "")]  # two antibodies on one metal; blank
    lines = [f"{metal},{target},{page}" for metal, target, page in rows]
    return "Metal Tag,Target,FullStack\n" + "\n".join(lines[::-1]) + "\n"


@pytest.fixture
def jackson(tmp_path):
    inner = {
        "ome/ome/" + BASEL + "_full.tiff": tiff(stack(49, 0)),
        "ome/ome/" + ZURICH + "_full.tiff": tiff(stack(49, 1)),
        "ome/ome/BaselTMA_Liver_a0_full.tiff": b"",
    }
    masks = {f"{name}_full_maks.tiff": tiff(mask(7, 3, 9)) for name in (BASEL, ZURICH)}
    patients = "core,FileName_FullStack,PID,diseasestatus,grade,tumor_type,clinical_type,OSmonth,"
    patients += "DFSmonth,Patientstatus,response,age,gender\n"
    row = "{0},{1}_full.tiff,{2},tumor,3,ductal,HR+HER2-,80,70,alive,Sensitive,61,F\n"
    root = "Data_publication"
    write(
        tmp_path,
        **{
            "OMEandSingleCellMasks.zip": zipped(
                **{
                    "OMEnMasks/ome.zip": zipped(**inner),
                    "OMEnMasks/Basel_Zuri_masks.zip": zipped(**masks),
                }
            ),
            "SingleCell_and_Metadata.zip": zipped(
                **{
                    f"{root}/Basel_Zuri_StainingPanel.csv": staining_panel(),
                    f"{root}/BaselTMA/Basel_PatientMetadata.csv": patients
                    + row.format("BaselTMA_SP41_2", BASEL, 1),
                    # The columns of the two centres differ.
                    f"{root}/ZurichTMA/Zuri_PatientMetadata.csv": patients.replace(",response", "")
                    + row.format("ZTMA208_slide_11", ZURICH, 1).replace(",Sensitive", ""),
                }
            ),
            "singlecell_locations.zip": zipped(
                **{
                    "Basel_SC_locations.csv": "id,core,Location_Center_X,Location_Center_Y\n"
                    + "".join(f"BaselTMA_SP41_2_{i},BaselTMA_SP41_2,2,{y}\n" for i, y in RANKS),
                    "Zurich_SC_locations.csv": "id,core,Location_Center_X,Location_Center_Y\n"
                    + "".join(f"ZTMA208_slide_11_{i},ZTMA208_slide_11,2,{y}\n" for i, y in RANKS),
                }
            ),
            "singlecell_cluster_labels.zip": zipped(
                **{
                    "Cluster_labels/Basel_metaclusters.csv": "id,cluster\nBaselTMA_SP41_2_1,3\n",
                    "Cluster_labels/Zurich_matched_metaclusters.csv": "id,cluster\n"
                    "ZTMA208_slide_11_3,14\n",
                    "Cluster_labels/Metacluster_annotations.csv": "Metacluster ;Cell type;Class\n"
                    "3;T cells;Immune\n14;hypoxic tumor;Tumor\n",
                }
            ),
        },
    )
    return tmp_path


RANKS = [(1, 2.5), (2, 0.5), (3, 4.5)]  # labels 3, 7 and 9 lie in rows 2, 0 and 4


def test_jackson2020(jackson):
    source = read_source(jackson, load_cohort("jackson2020"))
    found = tissues(source)
    assert list(found) == [BASEL, ZURICH]
    # "page = FullStack - 1": the panel's order is that of the pages, whatever the table's.
    assert list(source.panel["channel_name"])[:2] == ["Histone H3", "H3K27me3"]
    image = found[ZURICH].load_image()
    np.testing.assert_array_equal(image, stack(49, 1)[[8, *range(11, 49)]])
    # "Zurich only" channels were not measured in Basel: no pixel of theirs passes for a count.
    assert found[ZURICH].absent == () and len(found[BASEL].absent) == 4
    places = [list(source.panel["channel_name"]).index(name) for name in found[BASEL].absent]
    basel = found[BASEL].load_image()
    assert not basel[places].any() and basel.any(axis=(1, 2)).sum() == 35
    # "mask labels are not sequential, single-cell CellId is the RANK of the label".
    np.testing.assert_array_equal(found[BASEL].load_mask(), mask(2, 1, 3))
    assert source.cells["cell_id"].tolist() == [1, 2, 3, 1, 2, 3]
    assert source.cells["cell_type"].tolist()[0] == "T cells"
    assert source.cells["cell_category"].tolist()[5] == "Tumor"
    # Patient 1 of Basel is not patient 1 of Zurich.
    assert {t.patient_id for t in source.tissues} == {"BaselTMA_1", "ZTMA208_1"}
    assert found[BASEL].clinical["response"] == "Sensitive"
    assert found[ZURICH].clinical["response"] is None or pd.isna(found[ZURICH].clinical["response"])


def test_an_exchanged_page_of_jackson_is_told(jackson):
    short = {f"ome/ome/{BASEL}_full.tiff": tiff(stack(40))}
    masks = {f"{BASEL}_full_maks.tiff": tiff(mask(1))}
    outer = {"a/ome.zip": zipped(**short), "a/Basel_Zuri_masks.zip": zipped(**masks)}
    write(jackson, **{"OMEandSingleCellMasks.zip": zipped(**outer)})
    source = read_source(jackson, load_cohort("jackson2020"))
    with pytest.raises(InputError, match="the image has 40 pages and the panel names page 49"):
        source.tissues[0].load_image()


# Moldoveanu 2022: tar.gz with hidden files, metals from a supplement that is placed by hand.
SUPPLEMENT = [
    ("113In", "Histone H3"), ("141Pr", "SMA"), ("142Nd", "PDL1"), ("143Nd", "OX40"),
    ("144Nd", "CD45"), ("145Nd", "LAG3"), ("146Nd", "TIM3"), ("147Sm", "FoxP3"), ("148Nd", "CD4"),
    ("149Sm", "CCR7"), ("150Nd", "CD68"), ("151Eu", "VISTA"), ("152Sm", "MEK1/2"),
    ("153Eu", "CD20"), ("154Sm", "CD8a"), ("155Gd", "pMEK1/2"), ("156Gd", "SOX10"),
    ("158Gd", "Beta-Catenin"), ("159Tb", "CD45RA"), ("160Gd", "Granz B"), ("161Dy", "CD40"),
    ("162Dy", "Collagen I"), ("163Dy", "CD3"), ("164Dy", "Ki67"), ("165Ho", "pERK1/2"),
    ("166Er", "Cleaved Caspase3"), ("167Er", "CD45RO"), ("168Er", "HLA-DR"), ("169Tm", "S100"),
    ("170Er", "CD14"), ("171Yb", "ERK1/2"), ("172Yb", "CD16"), ("173Yb", "CD31"),
    ("174Yb", "ICOS"), ("175Lu", "CD29"), ("191Ir", "191Ir"), ("193Ir", "193Ir"),
]  # fmt: skip


@pytest.fixture
def moldoveanu(tmp_path):
    raw = {}
    for sample in ("slideA_26BL", "slideB_19RD"):
        folder = f"CP_output_tiff/{sample}"
        for seed, (metal, _) in enumerate(SUPPLEMENT):
            element = metal[3:] + metal[:3]
            raw[f"{folder}/prefix_{element}.tiff"] = tiff(plane(seed))
            raw[f"{folder}/._prefix_{element}.tiff"] = b"AppleDouble"
        raw[f"{folder}/{sample}_ilastik_s2_Probabilities_mask.tiff"] = tiff(mask(1, 2))
    tarred(tmp_path / "Moldoveanu2022-cytof-RAW.tar.gz", raw)
    samples = "Sample_ID\tCohort\tTissue_Source_Simplified\tSex\tTreatment\tResponse\tirRC\t"
    samples += "filename\n26BL\tICI\tLN\tF\tboth\tYes\tPR\tslideA_26BL\n"
    samples += "19RD\tICI\tskin\tM\tPDL1\t\t\tslideB_19RD\n"
    cells = "obj.id\tsample.id\tcoord.x\tcoord.y\tCluster\tKi67.prob\n26BL:1\t26BL\t2\t0.5\tmelano"
    cells += "\t0.1\n26BL:2\t26BL\t2\t2.5\tTreg\t0.2\n"
    root = "Moldoveanu_2022_CyTOF_melanoma/Data"
    tables = {f"{root}/ST1_sample_info.txt": samples, f"{root}/ST4_cell_data.txt": cells}
    tarred(tmp_path / "Moldoveanu_2022_CyTOF_melanoma.tar.gz", tables)
    return tmp_path


def test_moldoveanu2022(moldoveanu):
    cohort = load_cohort("moldoveanu2022")
    with pytest.raises(InputError, match="moldoveanu2022_panel.csv: no such table .* third sheet"):
        read_source(moldoveanu, cohort)
    rows = "".join(f"{metal},{name}\n" for metal, name in SUPPLEMENT)
    write(moldoveanu, **{"moldoveanu2022_panel.csv": "Metal-Tag,Target Name\n" + rows})
    source = read_source(moldoveanu, cohort)
    found = tissues(source)
    assert list(found) == ["slideA_26BL", "slideB_19RD"]
    image = found["slideA_26BL"].load_image()
    np.testing.assert_array_equal(image, [plane(seed) for seed in range(len(SUPPLEMENT))])
    panel = source.panel.set_index("original_channel_name")
    assert (
        panel["channel_name"]["160Gd"] == "GranzymeB" and panel["uniprot_id"]["141Pr"] == "P62736"
    )
    assert [t.patient_id for t in source.tissues] == ["26", "19"]
    assert source.cells["cell_type"].tolist() == ["melano", "Treg"]
    wrong = rows.replace("CD68", "CD6800").replace("CCR7", "CCR77")
    write(moldoveanu, **{"moldoveanu2022_panel.csv": "Metal-Tag,Target Name\n" + wrong})
    with pytest.raises(InputError) as error:
        read_source(moldoveanu, cohort)
    sentence = "not in panel.rows: CCR77 (149Sm), CD6800 (150Nd); only in panel.rows: CCR7, CD68"
    assert sentence in str(error.value)


# Hu 2023 and Allam 2022: several panels in one cohort, one file per channel.
TONSIL = (
    "BCL6 C-Myc CD11b CD11c CD138 CD20 CD21 CD27 CD3 CD38 CD4 CD8 CD83 CD86 COL1 CXCR4 CXCR5 DNA1 "
    "DNA2 EZH2 FoxP3 H3K27me3 ICOS1 Ki67 PD1 Vimentin"
).split()
LUNG = (
    "CD11b CD11c CD20 CD3 CD31 CD4 CD44 CD45RA CD45RO CD68 CD8 COL1 191Ir 193Ir ECadherin FoxP3 "
    "GranzymeB HistoneH3 Ki67 MHCII PanKeratin SMA Vimentin"
).split()
ENDOMETRIUM = "CD3 CD45RA CD45RO CD8a DNA1 DNA2 Ecaderin PanKeratin SMA Vimentin".split()


def exported(folder, markers):
    """Name files as the instrument's viewer does: <mass>_<metal>_<marker>.ome.tiff.

    Both channels of iridium may be called DNA.
    """
    told = {"191Ir": "191Ir_DNA", "193Ir": "193Ir_DNA"}
    named = [told.get(marker, f"X_{marker}") for marker in markers]
    names = [f"{folder}/{140 + i}_{name}.ome.tiff" for i, name in enumerate(named)]
    names += [f"{folder}/150_X_contaminant.ome.tiff"]
    return {name: tiff(plane(seed)) for seed, name in enumerate(names)}


def test_hu2023(tmp_path):
    files = exported("data/IMC/Tonsil DonorE/ROI_3", TONSIL)
    files["data/IMC/Tonsil DonorE/ROI_3/ROI_Cell_Mask.tiff"] = tiff(mask(1, 2))
    files |= exported("data/IMC/endometrium L128/ROI_1", ENDOMETRIUM)
    files |= exported("data/IMC/Lung B5/ROI_1", LUNG)
    write(tmp_path, **{"whatever.zip": zipped(**files)})
    source = read_source(tmp_path, load_cohort("hu2023"))
    counts = {t.tissue_id: len(source.panel) - len(t.absent) for t in source.tissues}
    # "Panels: THREE different ones", of 26, 23 and 10 channels.
    assert counts == {"Lung B5_1": 23, "Tonsil DonorE_3": 26, "endometrium L128_1": 10}
    tonsil = tissues(source)["Tonsil DonorE_3"]
    place = list(source.panel["channel_name"]).index("Ki-67")
    np.testing.assert_array_equal(tonsil.load_image()[place], plane(TONSIL.index("Ki67")))
    assert tonsil.patient_id == "Tonsil DonorE"
    files |= exported("data/IMC/Tonsil DonorA/ROI_1", [*TONSIL[1:], "SMA"])
    write(tmp_path, **{"whatever.zip": zipped(**files)})
    with pytest.raises(InputError, match="no file for BCL6; not in the panel: SMA; correct"):
        read_source(tmp_path, load_cohort("hu2023"))


OLDER = (
    "SMA Vimentin PanKeratin H3K4me3 PDL1 CD44 FoxP3 CD4 ECadherin CD68 CD20 CD8a PD1 GranzymeB "
    "Ki67 Col1 CD3 Histone3 CD45RO MHCII White191Ir White193Ir"
).split()
NEWER = (
    "SMA Vimentin TCF1 CD163 PanKeratin CD103 CD206 CD4 E-cadherin CD68 CD8 COL1 CD3 HLADR 191Ir "
    "193Ir"
).split()


def test_allam2022(tmp_path):
    files = {f"data/ROI/ROI001_B1/raw_{m}.tiff": tiff(plane(i)) for i, m in enumerate(OLDER)}
    files |= {name.replace(".tiff", ".ome.tiff"): pixels for name, pixels in files.items()}
    files |= exported("data/ROI_new/core_B7", NEWER)
    files["data/ROI_new/core_B7/B7_Cell_Mask.tiff"] = tiff(mask(1, 2))
    write(tmp_path, **{"a.zip": zipped(**files)})
    source = read_source(tmp_path, load_cohort("allam2022"))
    counts = {t.tissue_id: len(source.panel) - len(t.absent) for t in source.tissues}
    assert counts == {"ROI001_B1": 22, "core_B7": 16} and len(source.panel) == 26
    assert "Histone H3" in tissues(source)["core_B7"].absent


# Text acquisitions; labels and outcomes on the rows of a table of cells, converted from R.
def test_meyer2025(tmp_path):
    cohort = load_cohort("meyer2025")
    assert cohort.held_out
    metals = [row["channel"] for row in cohort.panel]
    file = "ZTMA174_B06.02565_3_AX3Y1_42"
    raw = {f"ZTMA174.1/{file}.txt": acquisition_text(stack(40), [*metals, "Xe131"])}
    other = {"x/ZTMA249.3_ZTMA249_ID_99_AX3Y13_321.txt": acquisition_text(stack(39, 1), metals)}
    other |= {"x/ZTMA249_ID_247_CX7Y1_99.txt": acquisition_text(stack(39, 2), metals)}
    masks = {f"masks_4/ZTMA174.1_{file}.tiff": tiff(mask(1, 2))}
    write(tmp_path, **{"ZTMA174_raw.zip": zipped(**raw), "ZTMA249_raw.zip": zipped(**other)})
    columns = [name for table in cohort.clinical for name in table["columns"]]
    rows = {"sample_id": [f"ZTMA174.1_{file}"] * 2 + ["ZTMA249.3_ZTMA249_ID_99_AX3Y13_321"]}
    rows |= {"ObjectNumber": [1, 2, 1], "Pos_X": [2.0] * 3, "Pos_Y": [0.5, 2.5, 0.5]}
    rows |= {"metacluster_combined": ["tumor_1", "B_cell", "Stromal"]}
    rows |= {"analysis_cat": ["tumor", "non_tumor", "non_tumor"]}
    rows |= {name: ["a", "a", "b"] for name in columns}
    with pytest.raises(InputError, match='write.csv.*readRDS."sce_ALL.rds".*15396067'):
        read_source(tmp_path, cohort)
    others = {"sample_id": [f"ZTMA174.1_ZTMA174_no_{i}" for i in range(3)]}
    pd.DataFrame(rows | others).to_csv(tmp_path / "sce_ALL_colData.csv")
    told = r"none of 3 tissues has a patient \(\{PID\}\), the first is ZTMA174_B06.*; correct `by`"
    with pytest.raises(InputError, match=told):
        read_source(tmp_path, cohort)
    pd.DataFrame(rows).to_csv(tmp_path / "sce_ALL_colData.csv")
    source = read_source(tmp_path, cohort)
    left_out = (
        "1 tissues are left out, as no table has their patient ({PID}): ZTMA249_ID_247_CX7Y1_99"
    )
    assert left_out in source.warnings and len(source.tissues) == 2
    assert any("masks masks.zip are absent; The masks are published" in w for w in source.warnings)
    write(tmp_path, **{"masks.zip": zipped(**masks)})
    source = read_source(tmp_path, cohort)
    first = source.tissues[0]
    assert first.tissue_id == file and first.patient_id == "a"
    np.testing.assert_allclose(first.load_image(), stack(40)[:39], atol=5e-4)
    np.testing.assert_array_equal(first.load_mask(), mask(1, 2))
    assert source.cells["cell_type"].tolist() == ["tumor_1", "B_cell", "Stromal"]
    assert any("not name are left out (1): Xe131" in warning for warning in source.warnings)


def test_immucan2024(tmp_path):
    cohort, stem = load_cohort("immucan2024"), "20210101_x_10089821-SPECT-VAR-TIS-UNST-03_001"
    members = {f"images_masks/img/{stem}.tiff": tiff(stack(40))}
    members |= {f"images_masks/masks/{stem}.tiff": tiff(mask(1, 2))}
    labels = {
        "sample_id": [stem] * 2,
        "ObjectNumber": [1, 2],
        "cell_labels": ["Treg", "unlabelled"],
    }
    rdata.write_rds(tmp_path / "sce_labelled_V3.rds", pd.DataFrame(labels))
    write(tmp_path, **{"images_masks.zip": zipped(**members)})
    source = read_source(tmp_path, cohort)
    assert [(t.tissue_id, t.patient_id) for t in source.tissues] == [(stem, "10089821")]
    np.testing.assert_array_equal(source.tissues[0].load_image(), stack(40))
    assert source.cells["cell_type"].tolist() == ["Treg"]


def test_schulz2018(tmp_path):
    markers = ["HER2", "HER2 mRNA", "CK19", "DNA2"]
    tissue = tmp_path / "unpacked/T1"
    tissue.mkdir(parents=True)
    for seed, marker in enumerate(markers):
        (tissue / f"{marker}(Ho{160 + seed}Di).tiff").write_bytes(tiff(plane(seed)))
    with py7zr.SevenZipFile(tmp_path / "Fig_4.7z", "w") as archive:
        archive.writeall(tmp_path / "unpacked", "Fig_4")
    source = read_source(tmp_path, load_cohort("schulz2018"))
    only = source.tissues[0]
    assert only.tissue_id == "T1" and "panCK" in only.absent and "HER2" not in only.absent
    names = list(source.panel["channel_name"])
    for seed, marker in enumerate(markers):
        np.testing.assert_array_equal(only.load_image()[names.index(marker)], plane(seed))
    shared = source.panel.set_index("channel_name")["uniprot_id"]
    assert shared["HER2"] == shared["HER2 mRNA"] == "P04626"


def hoch_tables(cohort):
    rows = cohort.panel["rows"]
    spare = iter(["Nd142", "Nd144", "Sm147", "Sm149", "Nd150", "Sm154", "Yb172"])
    metals = [row.get("channel") or next(spare) for row in rows]
    # "Metal.Tag" is R's spelling; on disk "Metal Tag".
    table = "Metal Tag,clean_target,full\n" + "".join(
        f"{metal},{row.get('aliases', [row['marker']])[0]},1\n"
        for metal, row in zip(metals, rows, strict=True)
    )
    return metals, table + "Xe131,Xe131,0\n"


@pytest.mark.parametrize("fractions", [False, True])
def test_hoch2022(tmp_path, fractions):
    """Whole numbers are used as they are; fractions of 16 bits become whole again."""
    cohort = load_cohort("hoch2022")
    metals, table = hoch_tables(cohort)
    stem, pixels, cells = "20190731_ZTMA256.1_slide2_TH_s1_p14_r1_a1", stack(41), mask(1, 2)
    if fractions:
        pixels, cells = pixels / np.float32(65535), cells.astype(np.float32) / np.float32(65535)
    root, ending = "full_data/rna", "_ac_ilastik_s2_Probabilities_equalized_cellmask.tiff"
    order = "\n".join(metals[::-1]) + "\n"
    members = {
        f"{root}/cpout/{stem}_ac_full_spillcorrected.tiff": tiff(pixels),
        f"{root}/cpout/{stem}{ending}": tiff(cells),
        f"{root}/cpout/Image.csv": "ImageNumber,FileName_SpillCorrected,Metadata_Description\n"
        f"5,{stem}_ac_full_spillcorrected.tiff,G1\n",
        f"{root}/config/melanoma_1.06_rna.csv": table,
        f"{root}/tiffs/{stem}_ac_full.csv": order,
        f"{root}/tiffs/another_ac_full.csv": order,
        "full_data/protein/cpout/x_a1_ac_full_spillcorrected.tiff": b"another panel",
    }
    write(tmp_path, **{"full_data.zip": zipped(**members)})
    columns = cohort.clinical[1]["columns"].values()
    clinical = "Description," + ",".join(columns) + "\nG1," + ",".join("7" * len(columns)) + "\n"
    sce = {"ImageNumber": [5, 5], "CellNumber": [1, 2], "celltype": ["Tumor", "Vasculature"]}
    sce |= {"Center_X": [2.0, 2.0], "Center_Y": [0.5, 2.5], "in_tumor": [1, 0]}
    rdata.write_rds(tmp_path / "sce_RNA.rds", pd.DataFrame(sce))
    inside = {"data_for_analysis_zenodo/rna/clinical_data_RNA.csv": clinical}
    inside["data_for_analysis_zenodo/sce_RNA.rds"] = (tmp_path / "sce_RNA.rds").read_bytes()
    write(tmp_path, **{"data_for_analysis.zip": zipped(**inside)})
    source = read_source(tmp_path, cohort)
    only = source.tissues[0]
    assert list(source.panel["original_channel_name"]) == metals[::-1] and only.patient_id == "7"
    np.testing.assert_allclose(only.load_image(), stack(41), rtol=1e-6)
    np.testing.assert_array_equal(only.load_mask(), mask(1, 2))
    assert source.cells["cell_type"].tolist() == ["Tumor", "Stroma"]
    assert (
        dict(zip(source.panel["channel_name"], source.panel["uniprot_id"], strict=True))["CD134"]
        == "P43489"
    )
    members[f"{root}/tiffs/another_ac_full.csv"] = "\n".join(metals) + "\n"
    write(tmp_path, **{"full_data.zip": zipped(**members)})
    with pytest.raises(
        InputError, match="_ac_full.csv differs from another_ac_full.csv|differs fr"
    ):
        read_source(tmp_path, cohort)


def test_wang2023(tmp_path):
    cohort = load_cohort("wang2023")
    rows = cohort.panel["rows"]
    metals = [f"Nd{100 + i}" for i in range(len(rows))]
    names = [row.get("aliases", [row["marker"]])[-1] for row in rows]
    panel = "Metal Tag,Target\n" + "".join(f"{m},{n}\n" for m, n in zip(metals, names, strict=True))
    root = "NTPublic/data"
    labels = [
        label for members in cohort.cells["maps"]["cell_type"]["to"].values() for label in members
    ]
    assert len(labels) == len(set(labels)) == 37
    cells = (
        "ImageID,ObjectNumber,Label,cellAnnotation,isEpithelial,Location_Center_X,Location_Center_Y"
    )
    cells += "\nNTImg1647,1,CD8^+T,TME,0,2,0.5\nNTImg1647,2,Basal,normal,1,2,2.5\n"
    members = {
        f"{root}/raw/images/NTImg1647FullStack.tiff": tiff(stack(46)),
        f"{root}/raw/masks/NTImg1647CellMask.tiff": tiff(mask(1, 2)),
        f"{root}/raw/masks/NTImg1647NucleusMask.tiff": tiff(mask(1, 2)),
        f"{root}/raw/panel/metalReadOrder.csv": "\n".join(metals) + "\n",
        f"{root}/raw/panel/NeoTripFinalPanelToIMCTools1.csv": panel,
        f"{root}/derived/IDs.csv": "ImageID,PatientID,BiopsyPhase\nNTImg1647,12,Baseline\n",
        f"{root}/derived/clinical.csv": "PatientID,BiopsyPhase,pCR,Arm,isPerProtocol\n"
        "12,Baseline,RD,C&I,TRUE\n",
        f"{root}/derived/cells.csv": cells,
    }
    write(tmp_path, **{"NTPublic.zip": zipped(**members)})
    source = read_source(tmp_path, cohort)
    assert source.tissues[0].specimen_id == "12_Baseline"
    assert source.panel["uniprot_id"].notna().sum() == 43  # "43 protein channels"
    assert source.cells[["cell_type", "cell_category"]].to_numpy().tolist() == [
        ["CD8 T cell", "T cell"]
    ]
    assert source.neighbours is None  # the published graph may not be there
    members[f"{root}/derived/neighbours.csv"] = "ImageID,from,to\nNTImg1647,1,2\nNTImg3,1,2\n"
    write(tmp_path, **{"NTPublic.zip": zipped(**members)})
    pairs = read_source(tmp_path, cohort).neighbours
    assert pairs.to_numpy().tolist() == [["NTImg1647", 1, 2]]


@pytest.mark.parametrize("prefixed", [False, True])
def test_zhu2025(tmp_path, prefixed):
    rows = load_cohort("zhu2025").panel["rows"][:-1]  # 35 stains, without Ir193
    names = [row["aliases"][0] if prefixed else row["marker"] for row in rows[::-1]]
    write(
        tmp_path,
        **{
            "img.zip": zipped(**{"img/H1-02-3-ROI001.tiff": tiff(stack(35))}),
            "masks_deepcell.zip": zipped(**{"masks/H1-02-3-ROI001.tiff": tiff(mask(1))}),
            "RawPanel.csv": "name\n" + "\n".join(names) + "\n",
        },
    )
    source = read_source(tmp_path, load_cohort("zhu2025"))
    only = source.tissues[0]
    assert (only.tissue_id, only.patient_id, only.specimen_id) == (
        "H1-02-3-ROI001",
        "H1-02",
        "H1-02-3",
    )
    assert list(source.panel["channel_name"]) == [row["marker"] for row in rows[::-1]]
    np.testing.assert_array_equal(only.load_image(), stack(35))


def test_cords2023(tmp_path):
    cohort = load_cohort("cords2023")
    stem = "20201013_LC_BC-Fibro_TBB075_s0_p8_r1_a1"
    metals = ["Pr141", "Nd142", "Ir191"]
    panel = "Metal Tag,clean_target,full\n141Pr,FAP,1\n142Nd,CD31,1\n191Ir,DNA1,1\n131Xe,Xe,0\n"
    config = {"cp_30_new/LC_BC_fibro_study_final panel.csv": panel}
    config |= {f"cp_30_new/{stem}_ac_full.csv": "\n".join(metals) + "\n"}
    write(
        tmp_path,
        **{
            "ometiff.zip": zipped(**{f"x/{stem}_ac_full.tiff": tiff(stack(3))}),
            "Cell Masks.zip": zipped(**{f"y/{stem}_ac_mask.tiff": tiff(mask(1))}),
            "cp-output_config.zip": zipped(**config),
        },
    )
    source = read_source(tmp_path, cohort)
    assert (source.tissues[0].tissue_id, source.tissues[0].patient_id) == (stem, "TBB075")
    assert list(source.panel["uniprot_id"]) == ["Q12884", "P16284", None]
    assert source.tissues[0].load_mask().max() == 1
    # A channel that no row knows stops the reader: what it is called cannot be guessed.
    bad = {**config, "cp_30_new/LC_BC_fibro_study_final panel.csv": panel.replace("FAP", "Novel")}
    write(tmp_path, **{"cp-output_config.zip": zipped(**bad)})
    with pytest.raises(
        InputError, match=r"not in panel.rows: Novel \(141Pr\); only in panel.rows: none"
    ):
        read_source(tmp_path, cohort)


def test_rigamonti(tmp_path):
    known = [row["marker"] for row in load_cohort("rigamonti").panel["rows"]]
    rows = "".join(f"{i},{marker},\n" for i, marker in enumerate(known)) + "99,CD74,P04233\n"
    write(
        tmp_path,
        **{
            "images.zip": zipped(**{"t1.tiff": tiff(stack(16))}),
            "masks.zip": zipped(**{"t1.tiff": tiff(mask(1))}),
            "panel.csv": "channel,marker,uniprot\n" + rows,
            "cells.csv": "image_id,cell_id,cell_type\nt1,1,Mf\n",
            "tissues.csv": "image_id,patient_id\nt1,p1\n",
        },
    )
    source = read_source(tmp_path, load_cohort("rigamonti"))
    assert source.panel["uniprot_id"].iloc[-1] == "P04233"  # as the panel itself says
    assert source.panel["uniprot_id"].iloc[0] == "P34810"
    assert source.tissues[0].patient_id == "p1" and source.cells["cell_category"][0] == "Immune"


def test_cords2024_masks_have_their_places(tmp_path):
    """The folder of 86_B also has masks of 86_C, that of 176_A calls its masks 176_B."""
    from workflow_scripts.cohorts.readers.files import Files
    from workflow_scripts.cohorts.readers.tissues import match_files

    names = [
        "86_B_mask/x/1_TMA_86_B_s0_a4_ac_mask.tiff",
        "86_B_mask/x/1_TMA_86_C_s0_a4_ac_mask.tiff",
        "86_C_mask/x/1_TMA_86_C_s0_a4_ac_mask.tiff",
        "176_A_mask/x/1_TMA_176_B_s0_a7_ac_mask.tiff",
        "176_B_mask/x/1_TMA_176_B_s0_a7_ac_mask.tiff",
        "178_B_2_mask/x/1_TMA_178_B_2_s0_a9_ac_mask.tiff",
    ]
    write(tmp_path, **{"Cell masks.zip": zipped(**dict.fromkeys(names, b""))})
    cohort = load_cohort("cords2024")
    found = match_files(Files(tmp_path, replace(cohort)), cohort.layout["masks"])
    assert {tissue: file.name[:6] for tissue, (file, _) in found.items()} == {
        "176_A_7": "176_A_",
        "176_B_7": "176_B_",
        "178_B_9": "178_B_",
        "86_B_4": "86_B_m",
        "86_C_4": "86_C_m",
    }
