"""What own_cohort writes opens elsewhere: AnnData, OME-Zarr 0.5, the spora layout."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
import yaml
import zarr

from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.images import read_mask, read_ome_zarr, write_labels, write_ome_zarr


def test_the_page_stands_alone_and_says_what_it_shows(own):
    page = (own / "index.html").read_text()
    assert "A small cohort called mine" in page and "simulated" in page
    assert "do not" in page and "FOXP3, predicted" in page
    assert "none of them should be trusted" in page
    assert "No prediction on this page\nshould be trusted." in page
    assert 'src="http' not in page and "<script src" not in page and 'rel="stylesheet"' not in page
    assert page.count('src="data:image/png;base64,') == page.count("<img ") > 6
    for name in ("cells.h5ad", "niches.h5ad", "markers.parquet"):
        assert name in page and (own / name).exists()


def test_cells_open_in_scanpy_with_panel_versions_types_and_places(own):
    cells = scanpy.read_h5ad(own / "cells.h5ad")
    assert cells.n_obs > 50 and cells.n_vars == 32 and np.isfinite(cells.X).all()
    assert cells.uns["model"] == "given" and cells.uns["cohort"] == "mine"
    assert list(cells.uns["panel"]["channel_name"])[:2] == ["Histone H3", "panCK"]
    versions = json.loads(cells.uns["provenance"])["packages"]
    assert versions["torch"] != "absent"
    assert set(cells.obs["cell_type"]) <= {"Tumour", "Stroma", "T cell"}
    assert cells.obs["confidence"].between(0, 1).all()
    # Where squidpy looks; um in the image of the tissue.
    np.testing.assert_allclose(cells.obsm["spatial"], cells.obs[["x", "y"]])
    assert cells.obs["tissue_id"].dtype == "category"
    tokens = cells.X.copy()
    scanpy.pp.pca(cells, n_comps=5)
    assert cells.obsm["X_pca"].shape == (cells.n_obs, 5)
    niches = anndata.read_h5ad(own / "niches.h5ad")
    assert niches.n_obs == 12 and {"row", "col", "patient_id"} <= set(niches.obs)
    backed = anndata.read_h5ad(own / "cells.h5ad", backed="r")
    np.testing.assert_array_equal(backed[:7].to_memory().X, tokens[:7])


def check_image(path, names, shape):
    """Check what OME-Zarr 0.5 demands of an image, https://ngff.openmicroscopy.org/0.5."""
    group = zarr.open_group(str(path), mode="r")
    assert group.metadata.zarr_format == 3
    ome = dict(group.attrs["ome"])
    assert ome["version"] == "0.5"
    [scales] = ome["multiscales"]
    assert [axis["name"] for axis in scales["axes"]] == ["c", "y", "x"]
    assert [axis["type"] for axis in scales["axes"]] == ["channel", "space", "space"]
    assert {axis["unit"] for axis in scales["axes"][1:]} == {"micrometer"}
    [dataset] = scales["datasets"]
    assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    array = group[dataset["path"]]
    assert array.shape == shape and array.metadata.dimension_names == ("c", "y", "x")
    channels = ome["omero"]["channels"]
    assert [channel["label"] for channel in channels] == names
    for channel in channels:
        assert len(channel["color"]) == 6 and int(channel["color"], 16) >= 0
        window = channel["window"]
        assert set(window) == {"min", "max", "start", "end"} and window["min"] <= window["max"]
    return group


def test_stains_are_ome_zarr_with_cells_as_labels(own):
    names = ["PD-1 (predicted)", "FOXP3 (predicted)"]
    for tissue in ("p0_1", "p1_1", "p2_1"):
        group = check_image(own / f"stains/{tissue}.ome.zarr", names, (2, 72, 72))
        assert dict(group["labels"].attrs["ome"])["labels"] == ["cells"]
        label = group["labels/cells"]
        assert "image-label" in label.attrs["ome"] and label.attrs["ome"]["version"] == "0.5"
        mask = read_mask(own / f"ingest/mine/cell_masks/{tissue}.npz")
        np.testing.assert_array_equal(label["0"][:], mask)
        assert label["0"].metadata.dimension_names == ("y", "x")


def test_the_published_images_are_ome_zarr_with_channel_names(own):
    images = own / "cohorts/mine/imc/1_0mpp/images"
    names = ["Histone H3", "panCK", "SMA", "CD3", "CD31", "AR", "DNA1"]
    check_image(images / "p0_1.ome.zarr", names, (7, 72, 72))


def test_ome_zarr_reads_them(own):
    reason = "ome-zarr is not installed; the metadata are checked without it above"
    reader = pytest.importorskip("ome_zarr.reader", reason=reason)
    parse_url = pytest.importorskip("ome_zarr.io", reason=reason).parse_url
    nodes = list(reader.Reader(parse_url(str(own / "stains/p0_1.ome.zarr")))())
    assert nodes[0].data[0].shape == (2, 72, 72)


def test_an_image_and_its_labels_come_back(tmp_path):
    image = np.random.default_rng(0).normal(size=(2, 30, 50)).astype(np.float32)
    image[1] = 4.0  # constant: a window of no width is legal
    write_ome_zarr(tmp_path / "i.ome.zarr", image, ["CD3", "β-catenin"], 32)
    write_labels(tmp_path / "i.ome.zarr", np.eye(30, 50, dtype=np.int64))
    back, names = read_ome_zarr(tmp_path / "i.ome.zarr")
    np.testing.assert_array_equal(back, image)
    assert names == ["CD3", "β-catenin"]
    check_image(tmp_path / "i.ome.zarr", names, (2, 30, 50))


def test_the_cohort_reads_in_place_as_a_spora_cohort(own, tmp_path):
    document = {
        "id": "again",
        "title": "what own_cohort wrote",
        "access": "open",
        "source": {"folder": str(own / "cohorts/mine")},
        "reader": "spora",
        "layout": {},
        "panel": {
            "file": "imc/channels.parquet", "channel": "channel_name", "uniprot": "uniprot_id",
        },
        "cells": {"file": "metadata/cells.parquet", "tissue": "{tissue_id}", "cell": "cell_id"},
    }  # fmt: skip
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(document))
    cohort = load_cohort(tmp_path / "again.yaml")
    source = read_source(cohort.folder, cohort)
    ours = pd.read_parquet(own / "cohorts/mine/metadata/tissues.parquet")
    assert [t.tissue_id for t in source.tissues] == list(ours["tissue_id"])
    assert [t.patient_id for t in source.tissues] == list(ours["patient_id"])
    assert [t.split for t in source.tissues] == list(ours["split"])
    panel = pd.read_parquet(own / "cohorts/mine/imc/channels.parquet")
    pd.testing.assert_series_equal(source.panel["uniprot_id"], panel["uniprot_id"])
    first = source.tissues[0]
    image, _ = read_ome_zarr(own / f"ingest/mine/images/{first.tissue_id}.ome.zarr")
    np.testing.assert_array_equal(first.load_image(), image)
    mask = read_mask(own / f"ingest/mine/cell_masks/{first.tissue_id}.npz")
    np.testing.assert_array_equal(first.load_mask(), mask)
    assert len(source.cells) == len(pd.read_parquet(own / "cohorts/mine/metadata/cells.parquet"))
