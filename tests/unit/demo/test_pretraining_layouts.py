"""Layouts of cohorts that serve pretraining alone, held against their dataset sheets (quoted)."""

import io
import re

import numpy as np
import pandas as pd
import py7zr
import tifffile

ALLAM_OLDER = "SMA Vimentin PanKeratin PDL1 CD44 FoxP3 CD4 ECadherin CD68 CD20 CD8a PD1 GranzymeB"
ALLAM_OLDER += " Ki67 Col1 CD3 Histone3 CD45RO MHCII H3K4me3 White191Ir White193Ir"
ALLAM_NEWER = "SMA Vimentin TCF1 CD163 PanKeratin CD103 CD206 CD4 ECadherin CD68 CD8 COL1 CD3 HLADR"
ALLAM_NEWER += " 191Ir 193Ir"
HU = {
    "Tonsil": "CD20 CD21 CD3 CD8 H3K27me3 Vimentin",
    "Lung": "CD20 CD3 CD68 CD8 ECadherin HistoneH3 PanKeratin SMA Vimentin",
    "endometrium": "CD3 CD8a Ecaderin PanKeratin SMA Vimentin",
}


def test_cords2023_joins_images_and_masks_in_a_table(archives):
    # "20201013_LC_BC-Fibro_TBB075_s0_p8_r1_a1_ac..."; "Image.csv: FileName_CellMask,
    # FileName_FullStack, Metadata_acid, Metadata_panoid, Metadata_roiid, Metadata_slideid"; "a
    # "..._ac_full.csv" in cp_30_new"; "header-less list of metal tags, one per page"
    archive, output = archives("cords2023"), "cp-output_config.zip"
    images = archive.table(output, "cp_30_new/Image.csv")
    assert {"Metadata_acid", "Metadata_panoid", "Metadata_roiid", "Metadata_slideid"} < set(images)
    for row in images.itertuples():
        start = re.match(
            r"2020\d{4}_LC_BC-Fibro_TBB\d{3}_s0_p\d+_r\d_a\d_ac", row.FileName_FullStack
        )
        image = archive.tiff("ometiff.zip", f"ometiff/{row.FileName_FullStack}")
        mask = archive.tiff("Cell Masks.zip", f"Cell Masks/{row.FileName_CellMask}")
        assert row.FileName_CellMask.startswith(start[0]) and image.shape == (12, *mask.shape)
        order = archive.read(output, f"cp_30_new/{start[0]}_full.csv").decode().split()
        assert len(order) == 12 and order[-2:] == ["Ir191", "Ir193"]
    # '"LC_BC_fibro_study_final panel.csv" (with a space), has columns Target and clean_target'
    panel = archive.table(output, "cp_30_new/LC_BC_fibro_study_final panel.csv")
    assert {"Metal Tag", "Target", "clean_target", "full", "ilastik"} == set(panel)
    assert set(panel["Metal Tag"][panel.full == 1]) == set(order) and (panel.full == 0).any()
    named = {"FAP", "SMA", "Fibronectin-Collagen-I", "Keratin-AE1-AE3", "vWF-CD31", "Podoplanin"}
    assert named < set(panel.clean_target)


def test_hu_files_are_named_by_mass_metal_and_marker(archives):
    # "`data/IMC/<experiment>/`, names seen: `endometrium L128`, `Tonsil DonorE`, Lung cores";
    # "ROI id = text after the last `_` of the folder name"; "`<mass>_<metal>_<marker>.ome.tiff`";
    # "`contaminant` channels skipped"; "THREE different panels"; "Ecaderin (sic)"; "191Ir -> DNA1"
    archive, seen = archives("hu2023"), {}
    for name in archive.names("IMC.zip"):
        if name == "README.txt":
            continue
        pattern = r"data/IMC/(\w+) ?([^/]*)/[^/]+_(\d+)/(\d+)_([A-Z][a-z])_(\w+)\.ome\.tiff"
        organ, donor, region, mass, metal, marker = re.fullmatch(pattern, name).groups()
        seen.setdefault((organ, donor, region), set()).add(marker)
        content = archive.read("IMC.zip", name)
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            assert file.is_ome and file.series[0].ndim == 2
            assert f'Name="{mass}{metal}"' in file.ome_metadata
    assert len(seen) == 5 and {organ for organ, *_ in seen} == set(HU)
    for (organ, *_), markers in seen.items():
        assert markers == {*HU[organ].split(), "191Ir", "193Ir", "contaminant"}


def test_schulz_archives_are_7z_of_single_channels(archives):
    # "figure-wise .7z archives (name pattern `Fig_<n> <title>.7z`)"; "PPIB_3/`C2_PPIB(Ho165Di)_
    # rotated.tiff`"; "Single-channel 2-D TIFFs, `<target>(<Metal><mass>Di)`"; "3 mRNA targets
    # (HER2, CK19, CXCL10)"
    archive = archives("schulz2018")
    assert all(re.fullmatch(r"Fig_\d .+\.7z", path.name) for path in archive.files.iterdir())
    with py7zr.SevenZipFile(archive.files / "Fig_2 FISH IMC comparison.7z") as file:
        (name,) = file.getnames()
        assert name.endswith("PPIB_3/C2_PPIB(Ho165Di)_rotated.tiff")
    factory = py7zr.io.BytesIOFactory(1 << 24)
    with py7zr.SevenZipFile(archive.files / "Fig_5 Tissue microarray.7z") as file:
        file.extractall(factory=factory)
    channels = {}
    for name, content in factory.products.items():
        if name == "README.txt":
            continue
        folder, file = name.split("/")[1:]
        target, metal = re.fullmatch(r"(.*)\(([A-Z][a-z]?\d+)Di\)\.tiff", file).groups()
        channels.setdefault(folder, {})[target] = metal
        content.seek(0)
        assert tifffile.imread(io.BytesIO(content.read())).ndim == 2
    assert len(channels) == 4
    for found in channels.values():
        assert {"HER2", "HER2 mRNA", "CK19", "CK19 mRNA", "CXCL10 mRNA", "panCK"} < set(found)
        assert (found["DNA1"], found["DNA2"]) == ("Ir191", "Ir193")


def test_zhu_has_the_folders_of_steinbock(archives):
    # "`img/<sample>.tiff` (float32)", "`masks_deepcell/<sample>.tiff` (uint16)", "`images.csv`
    # (image, width_px, height_px, num_channels, acquisition_width_um, acquisition_height_um)",
    # "`RawPanel.csv` (column `name`)"; "ROI id: `<slide>-ROI<3 digits>`"; "no histone H3"
    archive = archives("zhu2025")
    panel = pd.read_csv(archive.files / "RawPanel.csv")
    assert list(panel) == ["name"] and {"141Pr_aSMA", "191Ir_191Ir"} < set(panel.name)
    assert not panel.name.str.contains("(?i)histone|H3$").any()
    images = pd.read_csv(archive.files / "images.csv")
    columns = "image width_px height_px num_channels acquisition_width_um acquisition_height_um"
    assert list(images) == columns.split()
    for row in images.itertuples():
        assert re.fullmatch(r"[\w-]+-\w+-ROI\d{3}\.tiff", row.image)
        image = archive.tiff("img.zip", f"img/{row.image}")
        mask = archive.tiff("masks_deepcell.zip", f"masks_deepcell/{row.image}")
        assert image.dtype == np.float32 and mask.dtype == np.uint16
        assert image.shape == (len(panel), row.height_px, row.width_px)
        assert mask.shape == image.shape[1:] and row.num_channels == len(panel) == 12


def test_allam_has_two_sets_with_two_panels(archives):
    # "Folder per ROI: `ROI<3 digits>_<TMA position>`"; "marker = last `_` token of the stem";
    # "the authors RENAME raw files: `*White191Ir.tiff`, `*H3K4me3.tiff` -> `_H3K9me3.tiff`";
    # "12 TMA cores: B7, C3, ...; folder name ends `_<core>`; files `*.ome.tiff`, marker =
    # `name.split('_')[2].split('.')[0]`, `contaminant` skipped"
    archive, found = archives("allam2022"), {}
    for name in archive.names("SpatialVizScore.zip"):
        if name == "README.txt":
            continue
        _, root, folder, file = name.split("/")
        if root == "ROI":
            assert re.fullmatch(r"ROI\d{3}_[A-Z]\d", folder)
            marker = file.removesuffix(".tiff").split("_")[-1]
        else:
            assert re.fullmatch(r"[^/]+_[A-Z]\d", folder) and file.endswith(".ome.tiff")
            marker = file.split("_")[2].split(".")[0]
        found.setdefault((root, folder), set()).add(marker)
    assert {root for root, _ in found} == {"ROI", "ROI_new"} and len(found) == 4
    older = set.union(*(markers for (root, _), markers in found.items() if root == "ROI"))
    newer = set.union(*(markers for (root, _), markers in found.items() if root == "ROI_new"))
    assert older < set(ALLAM_OLDER.split()) and {"H3K4me3", "White191Ir", "Histone3"} < older
    assert newer < {*ALLAM_NEWER.split(), "contaminant"}
    assert {"HLADR", "CD8", "CD163", "contaminant"} < newer and "Histone3" not in newer


def test_immucan_pairs_images_and_masks_of_equal_names(archives):
    # "pair image/mask by identical stem in two folders"; "float32, (C, Y, X)"; "masks: pixel =
    # ObjectNumber"; "10089821-SPECT-VAR-TIS-UNST-03_001 (embedded in a longer name)"; "Columns:
    # image, sample_id, ObjectNumber, Indication, SlideId, ..., cell_labels"
    archive, zipped = archives("immucan2024"), "images_masks.zip"
    cells = pd.read_csv(archive.files / "sce_labelled_V3_colData.csv")
    labels = "B plasma CD4 CD8 Treg BnT DC HLADR MacCD163 Neutrophil NK pDC Mural Tumor unlabelled"
    assert set(cells.cell_labels) < {*labels.split(), "undefined"}
    assert 0 < (cells.cell_labels == "unlabelled").mean() < 0.1
    assert set(cells.Indication) <= {"BREAS", "GI", "GU", "HN", "THOR"}
    assert cells.SlideId.nunique() == cells.sample_id.nunique() == 4
    for sample, table in cells.groupby("sample_id"):
        assert re.search(r".\d{8}-SPECT-VAR-TIS-UNST-\d{2}_\d{3}$", sample)
        image = archive.tiff(zipped, f"img/{sample}.tiff")
        mask = archive.tiff(zipped, f"masks/{sample}.tiff")
        assert image.dtype == np.float32 and image.shape == (13, *mask.shape)
        assert table.ObjectNumber.tolist() == np.unique(mask)[1:].tolist()
        assert set(table.image) == {f"{sample}.tiff"}
