"""Cords, Wang, Hoch and the neighbours of Danenberg, held against their dataset sheets (quoted)."""

import io
import re
import struct
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from scipy.ndimage import binary_dilation, center_of_mass
from scipy.ndimage import mean as region_mean

CORDS_CSV = ("comp_csv_files.zip", "cp_csv/clinical_data_ROI.csv")
COL_DATA = ("SingleCellExperiment Objects.zip", "sce_all_annotated_colData.csv")
RNA = "full_data/rna"
DERIVED = "NTPublic/data/derived"


# --- Cords 2024 ----------------------------------------------------------------------------


def mcd(archive, name):
    """Return the bytes of a raw file and its description as {tag: [{name: text}]}."""
    (member,) = archive.names(f"{name}.mcd.zip")
    assert member == f"{name}.mcd"
    content = archive.read(f"{name}.mcd.zip", member)
    start = content.rfind("<MCDSchema".encode("utf-16-le"))
    root = ElementTree.fromstring(content[start:].decode("utf-16-le"))
    found = {}
    for element in root:
        facts = {child.tag.rpartition("}")[2]: child.text for child in element}
        found.setdefault(element.tag.rpartition("}")[2], []).append(facts)
    return content, found


def blocks(archive):
    return [path.name.removesuffix(".mcd.zip") for path in archive.files.glob("*.mcd.zip")]


def test_cords_has_one_raw_file_per_block(cords):
    # "raw_mcd_zips, each '<name>.mcd.zip': 2020120_LC_NSCLC_TMA_86_C, 20201228_..._175_B,
    # 20210104_..._176_A"; "no TIFF/OME-TIFF in the record"
    named = "20201228_LC_NSCLC_TMA_175_B 20210104_LC_NSCLC_TMA_176_A 2020120_LC_NSCLC_TMA_86_C"
    assert sorted(blocks(cords)) == sorted(named.split())
    for name in blocks(cords):
        _, found = mcd(cords, name)
        assert len(found["Acquisition"]) >= 2


def test_cords_channels_are_kept_by_their_label(cords):
    # "keep the 43 whose channel_label, split on "_", has exactly 2 pieces; order = acquisition
    # (mass) order"; "about 130 metal channels incl. Ar/Xe background"; "MCD labels are truncated"
    _, found = mcd(cords, "20201228_LC_NSCLC_TMA_175_B")
    first = found["Acquisition"][0]["ID"]
    channels = [c for c in found["AcquisitionChannel"] if c["AcquisitionID"] == first]
    channels.sort(key=lambda channel: int(channel["OrderNumber"]))
    assert [c["ChannelName"] for c in channels[:5]] == ["X", "Y", "Z", "Ar(80)", "Xe(131)"]
    kept = [c for c in channels if len(c["ChannelLabel"].split("_")) == 2]
    assert len(kept) == 14 == len(channels) - 5
    assert all(len(c["ChannelLabel"].split("_")[0]) <= 7 for c in kept)
    masses = [int(re.search(r"\d+", c["ChannelName"])[0]) for c in kept]
    assert masses == sorted(masses)
    # "In115 SMA, Pr141 Histone H3, Nd142 FAP, Nd146 CA9, Sm147 Collagen I + Fibronectin, Sm149
    # CD20, Nd150 CD68, Sm152 CD3, Er166 CD8a, Yb172 CD31+vWF, Lu175 panCK, Bi209 CD15"
    stated = dict(In=115, Pr=141, Sm=147, Er=166, Lu=175, Bi=209)
    assert {f"{metal}({mass})" for metal, mass in stated.items()} <= {
        c["ChannelName"] for c in kept
    }


def test_cords_pixels_are_floats_in_shots(cords):
    # "float32, C,Y,X after read"; one region holds none ("unreadable acquisitions: 175_B_90")
    content, found = mcd(cords, "20201228_LC_NSCLC_TMA_175_B")
    empty = []
    for item in found["Acquisition"]:
        width, height = int(item["MaxX"]), int(item["MaxY"])
        start, end = int(item["DataStartOffset"]), int(item["DataEndOffset"])
        if start == end:
            empty.append(item["ID"])
            continue
        channels = (end - start) // (4 * width * height)
        assert channels == 19 and item["ValueBytes"] == "4"
        shot = struct.unpack_from(f"<{channels}f", content, start + 4 * channels * (width + 2))
        assert shot[:3] == (2, 1, width + 2)
    assert empty == ["90"]


def test_cords_masks(cords):
    # "file name contains TMA_<TMA>_<block>_s0_a<acq>, two levels below <TMA>_<block>_mask/";
    # "folder 86_B_mask also holds 86_C masks"; "folder 176_A_mask has files named TMA_176_B";
    # "7 more masks than readable images"; "label = CellNumber in the table"
    cells = cords.table(*COL_DATA)
    names, seen = cords.names("Cell masks.zip"), []
    for name in names:
        folder, _, file = name.split("/")
        tma, block, number = re.search(r"TMA_(\d+)_(\w)_s0_a(\d+)_.*\.tiff$", file).groups()
        if folder == "86_B_mask":
            assert block == "C"
            continue
        assert folder == ("176_A_mask" if (tma, block) == ("176", "B") else f"{tma}_{block}_mask")
        core = f"{folder.removesuffix('_mask')}_{number}"
        mask = cords.tiff("Cell masks.zip", name)
        table = cells[cells.CellID.str.startswith(f"{core}_")]
        assert table.CellNumber.tolist() == np.unique(mask)[1:].tolist()
        centres = np.array(center_of_mass(mask > 0, mask, table.CellNumber))
        np.testing.assert_allclose(table[["Center_X", "Center_Y"]], centres[:, ::-1], rtol=1e-4)
        seen.append(core)
    assert len(seen) == 7 and "175_B_90" in seen and len(names) == 9


def test_cords_cell_table(cords):
    # "Tma_ac (also TmaID, TmaBlock, acID)", as 175C_57; 'CellID = "175_C_57_23"';
    # "cell_category (6)", "cell_type (22)", the named columns
    cells = cords.table(*COL_DATA)
    parts = cells[["TmaID", "TmaBlock", "acID"]].astype(str)
    assert (parts.TmaID + parts.TmaBlock + "_" + parts.acID).equals(cells.Tma_ac)
    image = parts.agg("_".join, axis=1)
    assert (image + "_" + cells.CellNumber.astype(str)).equals(cells.CellID)
    assert cells.CellID.is_unique
    assert set(cells.cell_category) == {*"Tumour Fibroblast Immune vessel Other".split(), "T cell"}
    fine = "normal hypoxic Collagen_CAF hypoxic_CAF mCAF SMA_CAF tpCAF iCAF vCAF dCAF hypoxic_tpCAF"
    fine += " IDO_CAF PDPN_CAF HEV Blood Lymphatic Myeloid Neutrophil Bcell CD8 CD4 Other"
    assert set(cells.cell_type) < set(fine.split())
    assert cells.groupby("cell_type").cell_category.nunique().eq(1).all()


def test_cords_clinical(cords):
    # "one row per ROI; first column unnamed index"; 'Tma_ac written like "175C_57"'; "Patient_ID
    # (value "Control" for control cores)"; "OS + Ev.O; DFS + Relapse (0/1)"; "Grade"; "Stage
    # numeric"; "LN.Met ("No LN Metastases"/...)"; "NeoAdj ("NoNeoAdjuvantTherapy"/...)"
    clinical = cords.table(*CORDS_CSV)
    assert list(clinical)[0] == "Unnamed: 0"
    assert clinical.Tma_ac.str.fullmatch(r"\d+[ABC]_\d+").all() and clinical.Tma_ac.is_unique
    assert clinical.Patient_ID.tolist()[-1] == "Control"
    rows = clinical.iloc[:-1]
    assert set(rows.Tma_ac) == set(cords.table(*COL_DATA).Tma_ac)
    assert set(rows["DX.name"]) <= {"Adenocarcinoma", "Squamous cell carcinoma"}
    assert set(rows.Relapse) | set(rows["Ev.O"]) <= {"0", "1"} and set(rows.Grade) <= {*"123"}
    assert (rows.DFS.astype(int) <= rows.OS.astype(int)).all()
    assert rows.OS.astype(int).between(1, 15 * 366).all()
    assert rows.groupby("Patient_ID").OS.nunique().eq(1).all()


def test_cords_panel(cords):
    # "columns channel,name,keep,ilastik,deepcell,cellpose,"Tube Number","Antibody Clone",...,
    # Clean_Target; combined antibodies give duplicate metal rows"
    panel = cords.table("comp_csv_files.zip", "cp_csv/panel.csv")
    columns = "channel,name,keep,ilastik,deepcell,cellpose,Tube Number,Antibody Clone,Clean_Target"
    assert list(panel) == columns.split(",")
    twice = panel.channel[panel.channel.duplicated()]
    assert twice.tolist() == ["Sm147", "Yb172"]
    assert panel.Clean_Target[panel.channel == "Yb172"].tolist() == ["CD31", "vWF"]


# --- Wang 2023 -----------------------------------------------------------------------------


def test_wang_images_and_masks(wang):
    # "Root folder NTPublic/"; "data/raw/images/<ImageID>FullStack.tiff, NO underscore"; "number of
    # pages = length of metalReadOrder.csv"; "one metal per line, no header"
    zipped = "NTPublic.zip"
    metals = wang.read(zipped, "NTPublic/data/raw/panel/metalReadOrder.csv").decode().split()
    stacks = [name for name in wang.names(zipped) if name.endswith("FullStack.tiff")]
    assert len(stacks) == 6
    for name in stacks:
        assert re.fullmatch(r"NTPublic/data/raw/images/NTImg\d+FullStack\.tiff", name)
        image = wang.tiff(zipped, name)
        mask = wang.tiff(zipped, name.replace("images", "masks").replace("FullStack", "CellMask"))
        assert image.dtype == np.uint16 and image.shape == (len(metals), *mask.shape)
    panel = wang.table(zipped, "NTPublic/data/raw/panel/NeoTripFinalPanelToIMCTools1.csv")
    # "columns 'Metal Tag', 'Target'"; "raw panel Target names that must be translated: Rabbit,
    # EMPTY, CD274, panKeratin_AE3"
    assert list(panel) == ["Metal Tag", "Target"] and set(panel["Metal Tag"]) == set(metals)
    assert {"Rabbit", "EMPTY", "CD274", "panKeratin_AE3"} < set(panel.Target)
    assert panel["Metal Tag"].tolist() != metals


def test_wang_cells(wang):
    # "first 14 columns metadata then channels"; "curated cells: CellClusters not NA and
    # cellAnnotation in {invasive, TME}"; "cell intensities are CellProfiler-scaled, /65535"
    cells = wang.table("NTPublic.zip", f"{DERIVED}/cells.csv")
    named = "ImageID ImageNumber ObjectNumber PatientID BiopsyPhase isEpithelial Label"
    named += " cellAnnotation CellClusters Colour PrintOrder Location_Center_X Location_Center_Y"
    assert list(cells)[:14] == [*named.split(), "AreaShape_Area"]
    assert len(cells.columns) == 14 + 15
    curated = cells.CellClusters != "NA"
    assert curated.equals(cells.cellAnnotation.isin(["invasive", "TME"]))
    assert 0 < (~curated).sum() < 0.02 * len(cells)
    labels = (
        "CK^{hi}GATA3^{+};panCK^{med};CA9^{+}Hypoxia;Vimentin^{+}EMT;Apoptosis;PD-L1^{+}IDO^{+}"
    )
    tme = "CD4^+PD1^+T;CD8^+T;CD20^+B;M2 Mac;PD-L1^+APCs;Fibroblasts;Myofibroblasts"
    epithelial = cells[curated & (cells.isEpithelial.astype(str).str.upper() == "TRUE")]
    assert set(epithelial.Label) <= set(labels.split(";"))
    assert set(cells.Label[curated]) <= {*labels.split(";"), *tme.split(";")}
    image = cells.ImageID[0]
    stack = wang.tiff("NTPublic.zip", f"NTPublic/data/raw/images/{image}FullStack.tiff")
    mask = wang.tiff("NTPublic.zip", f"NTPublic/data/raw/masks/{image}CellMask.tiff")
    table = cells[cells.ImageID == image]
    means = region_mean(stack[8], mask, table.ObjectNumber) / 65535
    np.testing.assert_allclose(table.panCK, means, rtol=1e-4)


def test_wang_clinical(wang):
    # "clinical.csv: PatientID, BiopsyPhase, pCR ('pCR' / 'RD'), Arm ('C', 'C&I'), isPerProtocol";
    # "BiopsyPhase: Baseline | On-treatment | Post-treatment"; "IDs.csv (ImageID, PatientID,
    # BiopsyPhase)"
    clinical = wang.table("NTPublic.zip", f"{DERIVED}/clinical.csv")
    assert list(clinical) == ["PatientID", "BiopsyPhase", "pCR", "Arm", "isPerProtocol"]
    phases = {"Baseline", "On-treatment", "Post-treatment"}
    assert set(clinical.BiopsyPhase) == phases and set(clinical.pCR) == {"pCR", "RD"}
    assert set(clinical.Arm) == {"C", "C&I"}
    assert not clinical.duplicated(["PatientID", "BiopsyPhase"]).any()
    assert clinical.groupby("PatientID").pCR.nunique().eq(1).all()
    ids = wang.table("NTPublic.zip", f"{DERIVED}/IDs.csv")
    assert list(ids) == ["ImageID", "PatientID", "BiopsyPhase"] and ids.ImageID.is_unique
    assert set(ids.PatientID) < set(clinical.PatientID)
    assert set(ids.groupby("PatientID").BiopsyPhase.agg(tuple)) == {tuple(sorted(phases))}


def touching(mask, cell):
    disc = np.hypot(*np.mgrid[-3:4, -3:4]) <= 3
    near = np.unique(mask[binary_dilation(mask == cell, disc)])
    return sorted(set(near.tolist()) - {0, cell})


def test_wang_neighbours(wang):
    # "neighbours.csv (ImageID, from, to)"; "EpClusters.csv, TMEClusters.csv (ClusterID, Label,
    # Colour, PrintOrder)"
    edges = wang.table("NTPublic.zip", f"{DERIVED}/neighbours.csv")
    assert list(edges) == ["ImageID", "from", "to"]
    image = edges.ImageID[0]
    mask = wang.tiff("NTPublic.zip", f"NTPublic/data/raw/masks/{image}CellMask.tiff")
    mine = edges[edges.ImageID == image]
    for cell in (2, 31, 88):
        assert mine.to[mine["from"] == cell].tolist() == touching(mask, cell)
    labels = []
    for name in ("EpClusters", "TMEClusters"):
        clusters = wang.table("NTPublic.zip", f"{DERIVED}/{name}.csv")
        assert list(clusters) == ["ClusterID", "Label", "Colour", "PrintOrder"]
        assert clusters.Colour.str.fullmatch("#[0-9a-f]{6}").all()
        labels += clusters.Label.tolist()
    assert labels == list(wang.section["cell_types"])


# --- Hoch 2022 -----------------------------------------------------------------------------


def test_hoch_images_are_named_by_the_table(hoch):
    # "which file: Image.csv column FileName_SpillCorrected"; sample stem
    # "20190731_ZTMA256.1_slide2_TH_s1_p14_r1_a1 (rna)"; "16-bit TIFF"; mask
    # "<sample>_ac_ilastik_s2_Probabilities_equalized_cellmask.tiff (Image.csv FileName_cellmask)"
    images = hoch.table("full_data.zip", f"{RNA}/cpout/Image.csv")
    assert {"FileName_FullStack", "Metadata_Description", "ImageNumber"} <= set(images)
    for row in images.itertuples():
        stem = re.match(r"20190731_ZTMA256\.1_slide2_TH_s\d_p\d+_r1_a\d+", row.FileName_cellmask)[0]
        assert row.FileName_SpillCorrected.startswith(f"{stem}_ac_")
        end = "_ac_ilastik_s2_Probabilities_equalized_cellmask.tiff"
        assert row.FileName_cellmask == stem + end
        image = hoch.tiff("full_data.zip", f"{RNA}/cpout/{row.FileName_SpillCorrected}")
        mask = hoch.tiff("full_data.zip", f"{RNA}/cpout/{row.FileName_cellmask}")
        assert image.dtype == mask.dtype == np.uint16
        assert image.shape == (15, *mask.shape)
        # "channel order: "<sample>_ac_full.csv", header-less list of metal tags"
        order = hoch.read("full_data.zip", f"{RNA}/tiffs/{stem}_ac_full.csv").decode().split()
        assert len(order) == 15 and order[-2:] == ["Ir191", "Ir193"]
    assert len(images) == 6


def test_hoch_panel(hoch):
    # "panel csv columns: "Metal Tag", Target, clean_target, full, ilastik, tumorMask";
    # "Y89 MPO, In113 Histone H3, In115 SMA, Nd143 HLA-DR, Nd148 B2M, Sm152 CD3, Dy162 CXCL10 mRNA
    # (T4), Ho165 CD8, Tm169 DapB, Er170 SOX10, Yb174 MelanA"
    panel = hoch.table("full_data.zip", f"{RNA}/config/melanoma_1.06_rna.csv")
    assert list(panel) == "Metal Tag,Target,clean_target,full,ilastik,tumorMask".split(",")
    targets = panel.set_index("Metal Tag").Target
    stated = "Y89 MPO,In113 Histone H3,In115 SMA,Nd143 HLA-DR,Nd148 B2M,Sm152 CD3,Ho165 CD8"
    stated += ",Tm169 DapB,Er170 SOX10,Yb174 MelanA,Dy162 CXCL10 mRNA (T4)"
    for entry in stated.split(","):
        metal, target = entry.split(" ", 1)
        assert targets[metal] == target


def test_hoch_cells(hoch):
    # 'cellID = "RNA_<ImageNumber>_<CellNumber>"'; "ImageNumber (join to Image.csv)"; "Description =
    # TMA spot (e.g. G1)"; "label == CellNumber"; RNA labels (10)
    zipped, folder = "data_for_analysis.zip", "data_for_analysis_zenodo"
    cells = hoch.table(zipped, f"{folder}/sce_RNA_colData.csv")
    made = "RNA_" + cells.ImageNumber.astype(str) + "_" + cells.CellNumber.astype(str)
    assert made.equals(cells.cellID) and cells.cellID.is_unique
    assert cells.Description.str.fullmatch(r"[A-H]\d+").all()
    labels = "Tumor Stroma unknown Vasculature HLA-DR CD38 Macrophage Neutrophil".split()
    assert set(cells.celltype) < {*labels, "CD8- T cell", "CD8+ T cell"}
    images = hoch.table(zipped, f"{folder}/rna/Image.csv").set_index("ImageNumber")
    for number, table in cells.groupby("ImageNumber"):
        mask = hoch.tiff("full_data.zip", f"{RNA}/cpout/{images.FileName_cellmask[number]}")
        assert table.CellNumber.tolist() == np.unique(mask)[1:].tolist()
        assert set(table.Description) == {images.Metadata_Description[number]}


def test_hoch_clinical(hoch):
    # "PatientID, ..., Location (CTRL for controls), ..., relapse (relapse / no relapse / ... /
    # control)"; "Time_to_death_or_last_PET + censoring_death; Time_to_progression_or_last_PET"
    content = hoch.read(
        "data_for_analysis.zip", "data_for_analysis_zenodo/rna/clinical_data_RNA.csv"
    )
    clinical = pd.read_csv(io.BytesIO(content))
    assert (clinical.Location == "CTRL").sum() == 1
    rows = clinical[clinical.Location != "CTRL"]
    assert set(rows.relapse) <= {"relapse", "no relapse"} and rows.Description.is_unique
    assert set(rows.censoring_death) <= {0, 1} and set(rows.Mutation) <= {"BRAF", "NRAS", "wt"}
    assert (rows.Time_to_progression_or_last_PET <= rows.Time_to_death_or_last_PET).all()
    images = hoch.table("full_data.zip", f"{RNA}/cpout/Image.csv")
    assert set(images.Metadata_Description) == set(rows.Description)
    assert rows.PatientID.nunique() == 5


# --- Danenberg 2022: structures ------------------------------------------------------------


def test_danenberg_neighbours_and_structures(danenberg):
    # "CellNeighbours.fst (from, to, ImageNumber, metabric_id, TMEStructure),
    # TMEStructuresAnnotation.csv (print_order, colours, Label)"; "ten_TME_structures (annotation
    # Label order): 1 Suppressed expansion; 2 APC enriched; 3 TLS-like; ... 10 Vascular stroma"
    zipped, root = "MBTMEStrIMCPublic.zip", "MBTMEIMCPublic"
    annotation = danenberg.table(zipped, f"{root}/TMEStructuresAnnotation.csv")
    assert list(annotation) == ["print_order", "colours", "Label"]
    labels = annotation.set_index("print_order").Label
    assert (labels[1], labels[2], labels[3]) == ("Suppressed expansion", "APC enriched", "TLS-like")
    assert labels[10] == "Vascular stroma" and len(labels) == 10
    edges = danenberg.table(zipped, f"{root}/CellNeighbours.csv")
    assert list(edges) == ["from", "to", "ImageNumber", "metabric_id", "TMEStructure"]
    assert set(edges.TMEStructure) == {"NA", "2", "3", "6", "10"}
    number = edges.ImageNumber[0]
    (name,) = [n for n in danenberg.names(zipped) if n.endswith(f"_{number}_CellMask.tiff")]
    mask = danenberg.tiff(zipped, name)
    mine = edges[edges.ImageNumber == number]
    for cell in (3, 40, 120):
        assert mine.to[mine["from"] == cell].tolist() == touching(mask, cell)
    # A cell is in one structure, which is not on its edges to cells outside (NA).
    each = edges.groupby(["ImageNumber", "from"]).TMEStructure
    assert edges[edges.TMEStructure != "NA"].groupby(each.keys).TMEStructure.nunique().eq(1).all()
    assert each.nunique().max() == 2
