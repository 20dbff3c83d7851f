"""Readers on real files, compared with what Pillow and the data sheets say about them."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from workflow_scripts.cohorts.pixels import sum_blocks
from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.common.images import write_ome_zarr

pytestmark = pytest.mark.real


def pages(path):
    """Read a TIFF page by page with a library that the readers do not use."""
    with Image.open(path) as image:
        found = []
        for page in range(image.n_frames):
            image.seek(page)
            found.append(np.array(image))
    return np.stack(found)


def test_pancreas_crops(cohort, shared):
    """Sheet damond2019: the stack's pages are its channels; the mask's pixels are ObjectNumbers."""
    folder = shared("real/damond2019")
    mine = cohort(
        source={"folder": str(folder)},
        layout={
            "images": {"pattern": r"^(?P<tissue>(?P<slide>[A-Z])\d\d)_imc\.tiff$"},
            "masks": {"pattern": r"^(?P<tissue>[A-Z]\d\d)_mask\.tiff$"},
        },
        panel=[{"channel": name} for name in ("H3", "CD99", "PIN", "CD8a", "CDH1")],
        patient="{slide}",
    )
    source = read_source(mine.folder, mine)
    assert [tissue.tissue_id for tissue in source.tissues] == ["E34", "G01", "J02"]
    assert [tissue.patient_id for tissue in source.tissues] == ["E", "G", "J"]
    for tissue in source.tissues:
        image, mask = tissue.load_image(), tissue.load_mask()
        assert image.dtype == np.float32 and image.shape == (5, 100, 100)
        np.testing.assert_array_equal(image, pages(folder / f"{tissue.tissue_id}_imc.tiff"))
        np.testing.assert_array_equal(mask, pages(folder / f"{tissue.tissue_id}_mask.tiff")[0])
        assert mask.dtype == np.uint16 and len(np.unique(mask)) > 100


def test_one_file_per_channel(cohort, shared):
    """Two images of 41 channels, 8 bit, 1024 px of 0.5 um; CD20, MPO, PD1 empty in the second."""
    folder = shared("real/risom2022")
    pattern = r"^(?P<tissue>(?P<point>Point\d+)_(?P<patient>pt\d+)_\d+)/(?P<channel>[^/]+)\.tif$"
    mine = cohort(
        source={"folder": str(folder)},
        reader="channel_tiff",
        pixel_size=0.5,
        layout={"images": {"pattern": pattern}},
        panel={"file": "panel.csv", "channel": "channel", "uniprot": "uniprot"},
        split={"column": "point", "train": ["Point2203"], "test": ["Point2206"]},
    )
    source = read_source(mine.folder, mine)
    assert len(source.panel) == 41 and source.panel["uniprot_id"].isna().sum() == 2
    assert [tissue.patient_id for tissue in source.tissues] == ["pt1072", "pt1116"]
    assert [tissue.split for tissue in source.tissues] == ["train", "test"]
    names = list(source.panel["channel_name"])
    image = source.tissues[1].load_image()
    assert [names[i] for i in np.flatnonzero(image.sum(axis=(1, 2)) == 0)] == ["CD20", "MPO", "PD1"]
    small = sum_blocks(image, 2)
    assert small.shape == (41, 512, 512)
    vim = pages(folder / "Point2206_pt1116_31620/VIM.tif")[0].astype(int)
    expected = vim[::2, ::2] + vim[1::2, ::2] + vim[::2, 1::2] + vim[1::2, 1::2]
    np.testing.assert_array_equal(small[names.index("VIM")], expected)


def test_steinbock_export(cohort, shared):
    folder = shared("real/steinbock_mock")
    mine = cohort(
        source={"folder": str(folder)},
        reader="steinbock",
        layout={},
        panel={"file": "panel.csv", "channel": "channel", "marker": "name"},
        clinical=[
            {
                "file": "images.csv",
                "extract": {"image": r"^(?P<stem>.+)\.tiff$"},
                "by": {"tissue": "stem"},
                "columns": ["source_file", "width_px", "height_px"],
            }
        ],
        patient="{source_file}",
    )
    source = read_source(mine.folder, mine)
    assert list(source.panel["channel_name"]) == [
        "Ag107",
        "Cytokeratin 5",
        "Laminin",
        "YBX1",
        "H3K27Ac",
    ]
    assert len(source.tissues) == 15
    assert len({tissue.patient_id for tissue in source.tissues}) == 5
    for tissue in source.tissues:
        image, mask = tissue.load_image(), tissue.load_mask()
        height, width = tissue.clinical["height_px"], tissue.clinical["width_px"]
        assert image.shape == (5, height, width) and mask.shape == (height, width)
        np.testing.assert_array_equal(image, pages(folder / tissue.original_file_name))


@pytest.fixture
def spora(cohort, shared, tmp_path):
    """Assemble one real tissue in the spora layout; its image, which is not public, is made up."""
    real, data = shared("real/cords2024"), tmp_path / "data"
    for path in ("metadata", "imc/1_0mpp/images", "segmentations/1_0mpp/cell_masks/instances"):
        (data / path).mkdir(parents=True)
    shutil.copy(real / "tissues.parquet", data / "metadata")
    shutil.copy(real / "cells.parquet", data / "metadata")
    shutil.copy(real / "channels.parquet", data / "imc")
    tissue = "cords2024cancer_ocmzljpb_0001"
    shutil.copy(
        real / "cell_mask.npz",
        data / f"segmentations/1_0mpp/cell_masks/instances/{tissue}.npz",
    )
    names = list(pd.read_parquet(real / "channels.parquet")["channel_name"])
    image = np.random.default_rng(0).poisson(2, (len(names), 697, 597)).astype(np.float32)
    write_ome_zarr(data / f"imc/1_0mpp/images/{tissue}.ome.zarr", image, names)
    labels = {"cell_type": "cell_type_regen", "cell_category": "cell_category_regen"}
    mine = cohort(
        reader="spora",
        layout={},
        panel={"file": "imc/channels.parquet", "channel": "channel_name", "uniprot": "uniprot_id"},
        cells={
            "file": "metadata/cells.parquet",
            "tissue": "{tissue_id}",
            "cell": "cell_id",
            "labels": labels,
        },
    )
    return mine, image


def test_spora_layout(spora):
    """Sheets _spora and cords2024: 43 channels, 40 with an accession; label = cell_id."""
    mine, image = spora
    source = read_source(mine.folder, mine)
    assert len(source.panel) == 43 and source.panel["uniprot_id"].notna().sum() == 40
    nuclear = source.panel["channel_name"][source.panel["is_nuclear_marker"]]
    assert set(nuclear) == {"H3", "Iridium", "Iridium (V2)"}
    assert source.panel["original_channel_name"][0] == "Myeloperoxidase (MPO)"
    (tissue,) = source.tissues
    assert (tissue.patient_id, tissue.specimen_id, tissue.split) == ("ocmzljpb", "0001", "test")
    assert tissue.original_file_name == "175_C4,9"
    assert tissue.clinical["cancer_type"] == "Adenocarcinoma"
    np.testing.assert_array_equal(tissue.load_image(), image)
    mask = tissue.load_mask()
    assert len(source.cells) == 2185 == mask.max()
    assert set(source.cells["cell_id"]) == set(np.unique(mask)) - {0}
    assert source.cells["cell_category"].value_counts()["Fibroblast"] > 100
    assert source.warnings == []
