import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile

from workflow_scripts.cohorts import ingest as rule
from workflow_scripts.cohorts.pixels import (
    block_size,
    centroids,
    clean,
    stride_blocks,
    sum_blocks,
    to_micrometre,
)
from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.images import read_mask, read_ome_zarr
from workflow_scripts.common.staging import staged
from workflow_scripts.common.tissue import tissue_mask


@pytest.mark.parametrize(("pixel_size", "block"), [(1.0, 1), (0.5, 2), (0.25, 4), (1 / 3, 3)])
def test_whole_blocks_make_a_micrometre(pixel_size, block):
    assert block_size(pixel_size, "c.yaml") == block


@pytest.mark.parametrize("pixel_size", [0.4, 0.325, 2.0, 1.5, 0.999])
def test_other_pixel_sizes_are_refused(pixel_size):
    with pytest.raises(InputError, match=f"c.yaml: pixel_size is {pixel_size} um; expected 1 um"):
        block_size(pixel_size, "c.yaml")


@pytest.mark.parametrize("block", [1, 2, 3])
def test_blocks_are_summed_and_rests_cut(block):
    image = np.random.default_rng(0).poisson(5, (2, 7, 8)).astype(np.float32)
    expected = np.zeros((2, 7 // block, 8 // block))
    for row in range(7 // block * block):
        for column in range(8 // block * block):
            expected[:, row // block, column // block] += image[:, row, column]
    summed = sum_blocks(image, block)
    assert summed.dtype == np.float32
    np.testing.assert_array_equal(summed, expected)


def test_masks_keep_whole_labels():
    mask = np.arange(7 * 9).reshape(7, 9)
    np.testing.assert_array_equal(stride_blocks(mask, 1), mask)
    small = stride_blocks(mask, 2)
    assert small.shape == (3, 4) and small[0, 0] == mask[1, 1] and small[2, 3] == mask[5, 7]
    assert stride_blocks(mask, 3)[0, 0] == mask[1, 1]


def test_coordinates_follow_the_pixels():
    """The centre of pixels 4 and 5 is the centre of the block 2 that they make."""
    assert to_micrometre(np.array([4.5]), 2) == [2.0]
    assert to_micrometre(np.array([4.0]), 1) == [4.0]


def test_what_is_no_count_becomes_zero():
    image = np.array([[[1.5, -1.0, np.nan, np.inf, 0.0]]], np.float32)
    cleaned, bad = clean(image)
    np.testing.assert_array_equal(cleaned, [[[1.5, 0, 0, 0, 0]]])
    assert bad == 3 and cleaned.dtype == np.float32


def test_centroids_are_means_of_pixels():
    mask = np.zeros((6, 7), np.uint16)
    mask[1:3, 2:6], mask[5, 0] = 40, 7
    table = centroids(mask)
    assert list(table.columns) == ["cell_id", "x", "y"]
    assert table.to_numpy().tolist() == [[7, 0.0, 5.0], [40, 3.5, 1.5]]
    assert centroids(np.zeros((3, 3), int)).empty


@pytest.fixture
def images(tmp_path):
    """Write two tissues of 2 channels and their masks into the data folder."""
    data = tmp_path / "data"
    (data / "masks").mkdir(parents=True)
    rng = np.random.default_rng(1)
    for name, shape in {"p1_1": (40, 50), "p2_1": (33, 44)}.items():
        image = rng.poisson(1, (2, *shape)).astype(np.float32)
        image[:, 10:25, 10:30] += 20
        tifffile.imwrite(data / f"{name}.tiff", image, photometric="minisblack")
        mask = np.zeros(shape, np.uint16)
        mask[10:14, 10:14], mask[20:24, 20:26], mask[0, 0] = 1, 2, 3
        tifffile.imwrite(data / "masks" / f"{name}.tiff", mask)
    table = "tissue,cell,kind\np1_1,1,a\np1_1,2,b\np1_1,3,a\np2_1,1,a\np2_1,2,c\np2_1,3,a\n"
    (data / "cells.csv").write_text(table)
    return data


LAYOUT = {
    "images": {"pattern": r"^(?P<tissue>(?P<patient>p\d)_\d)\.tiff$"},
    "masks": {"pattern": r"^masks/(?P<tissue>.+)\.tiff$"},
}
CELLS = {"file": "cells.csv", "tissue": "{tissue}", "cell": "cell", "labels": {"type": "kind"}}
OUTPUTS = {
    "images": "images",
    "cell_masks": "cell_masks",
    "tissue_masks": "tissue_masks",
    "channels": "channels.parquet",
    "tissues": "tissues.parquet",
    "cells": "cells.parquet",
    "neighbours": "neighbours.parquet",
    "channels_per_tissue": "channels_per_tissue.parquet",
    "exclusions": "exclusions.csv",
    "summary": "ingest.json",
}


@pytest.fixture
def ingest(cohort_file, tmp_path, images):
    """Run the rule on the two tissues; returns the folder of its outputs."""

    def run(threads=1, retrieved=None, **changes):
        folder = tmp_path / "ingested"
        path = cohort_file(**{"layout": LAYOUT, "cells": CELLS, **changes})
        outputs = {key: str(folder / name) for key, name in OUTPUTS.items()}
        rule.main(
            SimpleNamespace(
                input=SimpleNamespace(cohort=str(path), retrieved=retrieved),
                output=SimpleNamespace(**outputs),
                params=SimpleNamespace(mask_sigma=2.0),
                threads=threads,
            )
        )
        return folder

    return run


def test_the_rule_writes_images_masks_and_tables(ingest, images):
    folder = ingest()
    assert sorted(path.name for path in folder.iterdir()) == sorted(OUTPUTS.values())
    raw = tifffile.imread(images / "p1_1.tiff")
    image, names = read_ome_zarr(folder / "images/p1_1.ome.zarr")
    assert names == ["A", "B"]
    np.testing.assert_array_equal(image, raw)
    tissue = read_mask(folder / "tissue_masks/p1_1.npz")
    assert tissue.dtype == bool
    np.testing.assert_array_equal(tissue, tissue_mask(raw, 2.0))
    mask = read_mask(folder / "cell_masks/p1_1.npz")
    np.testing.assert_array_equal(mask, tifffile.imread(images / "masks/p1_1.tiff"))

    tissues = pd.read_parquet(folder / "tissues.parquet")
    assert list(tissues.columns) == [
        "tissue_id",
        "dataset",
        "patient_id",
        "specimen_id",
        "modality",
        "original_file_name",
        "split",
        "height",
        "width",
        "tissue_fraction",
    ]
    row = tissues.iloc[0]
    assert (row.tissue_id, row.dataset, row.patient_id) == ("p1_1", "mine", "p1")
    assert (row.height, row.width, row.split) == (40, 50, None)
    assert row.tissue_fraction == pytest.approx(tissue.mean())

    channels = pd.read_parquet(folder / "channels.parquet")
    assert list(channels.columns) == [
        "channel_name",
        "uniprot_id",
        "qc_pass",
        "is_nuclear_marker",
        "description",
        "original_channel_name",
        "index",
    ]
    assert channels["uniprot_id"][0] == "P10147" and pd.isna(channels["uniprot_id"][1])

    cells = pd.read_parquet(folder / "cells.parquet")
    assert list(cells.columns) == ["tissue_id", "cell_id", "x", "y", "type"]
    assert list(cells["cell_id"]) == [1, 2, 3] * 2 and cells["cell_id"].dtype == "int64"
    assert cells.iloc[1].tolist() == ["p1_1", 2, 22.5, 21.5, "b"]

    summary = json.loads((folder / "ingest.json").read_text())
    assert summary["channels_without_accession"] == ["B"]
    assert summary["warnings"] == [
        "1 of 2 channels have no UniProt accession and stay out of the model: B"
    ]
    counts = ("tissues", "patients", "channels", "cell_masks", "cells", "cells_not_in_mask")
    assert [summary[key] for key in counts] == [2, 2, 2, 2, 6, 0]


def test_neighbours_that_a_cohort_lists_are_kept(ingest, images):
    spec = {"file": "near.csv", "tissue": "{tissue}", "from": "from", "to": "to"}
    (images / "near.csv").write_text("from,to,tissue\n1,2,p1_1\n2,1,p1_1\n1,2,p9_9\n3,1,p2_1\n")
    folder = ingest(cells=CELLS | {"neighbours": spec})
    pairs = pd.read_parquet(folder / "neighbours.parquet")
    assert list(pairs.columns) == ["tissue_id", "from", "to"] and pairs["to"].dtype == "int64"
    assert pairs.to_numpy().tolist() == [["p1_1", 1, 2], ["p1_1", 2, 1], ["p2_1", 3, 1]]
    assert json.loads((folder / "ingest.json").read_text())["pairs_of_neighbours"] == 3
    (images / "near.csv").unlink()
    folder = ingest(cells=CELLS | {"neighbours": spec | {"optional": True}})
    none = pd.read_parquet(folder / "neighbours.parquet")
    assert none.empty and list(none.columns) == list(pairs.columns)
    assert json.loads((folder / "ingest.json").read_text())["warnings"][0] == (
        "table of neighbours near.csv is absent; neighbours follow from the distance of cells"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "tissue,from,to\np9_9,1,2\n",
            "near.csv: none of its tissues ('p9_9', ...) is among the images ('p1_1', ...); "
            "correct `cells.neighbours.tissue`.",
        ),
        (
            "tissue,from,to\np1_1,1,0\n",
            "near.csv: column 'to': '0' is not the number of a cell in a mask (a whole number "
            "above 0); correct `cells.neighbours.to`.",
        ),
        (
            "tissue,from,to\n",
            "near.csv: none of its tissues (it is empty) is among the images ('p1_1', ...); "
            "correct `cells.neighbours.tissue`.",
        ),
    ],
)
def test_neighbours_that_fit_nothing_are_told(ingest, images, text, sentence):
    spec = {"file": "near.csv", "tissue": "{tissue}", "from": "from", "to": "to"}
    (images / "near.csv").write_text(text)
    with pytest.raises(InputError) as error:
        ingest(cells=CELLS | {"neighbours": spec})
    assert str(error.value) == sentence


def test_numbers_given_anew_leave_no_neighbours(cohort):
    spec = {"file": "near.csv", "tissue": "{tissue}", "from": "from", "to": "to"}
    with pytest.raises(
        InputError, match="'cells.neighbours' names cells by numbers that 'cells.al"
    ):
        cohort(cells=CELLS | {"neighbours": spec, "align": "coordinates"})


def test_half_micrometre_pixels(ingest, images):
    folder = ingest(pixel_size=0.5)
    image, _ = read_ome_zarr(folder / "images/p2_1.ome.zarr")
    assert image.shape == (2, 16, 22)
    np.testing.assert_allclose(image.sum(), tifffile.imread(images / "p2_1.tiff")[:, :32].sum())
    assert read_mask(folder / "cell_masks/p2_1.npz").shape == (16, 22)
    tissues = pd.read_parquet(folder / "tissues.parquet")
    assert tissues["height"].tolist() == [20, 16]
    # Cell 3 is the one pixel (0, 0), which is in no centre of a block.
    cells = pd.read_parquet(folder / "cells.parquet")
    assert cells["cell_id"].tolist() == [1, 2, 1, 2]
    assert cells.iloc[1][["x", "y"]].tolist() == [11.0, 10.5]
    warnings = json.loads((folder / "ingest.json").read_text())["warnings"]
    assert "2 cells have no pixel left at 1 um and are left out" in warnings


def test_threads_change_nothing(ingest):
    tables = []
    for threads in (1, 3):
        folder = ingest(threads=threads)
        tables.append([(folder / OUTPUTS[key]).read_bytes() for key in list(OUTPUTS)[3:]])
    assert tables[0] == tables[1]


def test_without_a_cell_table_the_mask_names_the_cells(ingest):
    cells = pd.read_parquet(ingest(cells=None) / "cells.parquet")
    assert list(cells.columns) == ["tissue_id", "cell_id", "x", "y"]
    assert cells[["tissue_id", "cell_id"]].to_numpy().tolist() == [
        [tissue, cell] for tissue in ("p1_1", "p2_1") for cell in (1, 2, 3)
    ]


def test_without_masks_there_are_no_cells(ingest):
    folder = ingest(layout={"images": LAYOUT["images"]})
    cells = pd.read_parquet(folder / "cells.parquet")
    assert cells.empty and list(cells.columns) == ["tissue_id", "cell_id", "x", "y", "type"]
    assert list((folder / "cell_masks").iterdir()) == []
    warnings = json.loads((folder / "ingest.json").read_text())["warnings"]
    assert "6 cells of tissues without a mask are left out: p1_1, p2_1" in warnings
    cells = pd.read_parquet(
        ingest(layout={"images": LAYOUT["images"]}, cells=None) / "cells.parquet"
    )
    assert cells.empty and cells.dtypes.astype(str).tolist()[1:] == ["int64", "float64", "float64"]


def test_a_tissue_may_lack_its_mask(ingest, images):
    (images / "masks/p2_1.tiff").unlink()
    folder = ingest()
    assert [path.name for path in (folder / "cell_masks").iterdir()] == ["p1_1.npz"]
    warnings = json.loads((folder / "ingest.json").read_text())["warnings"]
    assert "1 tissues have no cell mask: p2_1" in warnings
    assert "3 cells of tissues without a mask are left out: p2_1" in warnings


def test_tolerated_cells_are_left_out_and_named(ingest, images):
    with open(images / "cells.csv", "a") as file:
        file.write("p2_1,77,a\n")
    folder = ingest(cells={**CELLS, "missing_tolerance": 0.2})
    assert 77 not in set(pd.read_parquet(folder / "cells.parquet")["cell_id"])
    summary = json.loads((folder / "ingest.json").read_text())
    assert summary["cells_not_in_mask"] == 1
    sentence = "tissue p2_1: 1 cells of the table are not in the mask and are left out: 77"
    assert sentence in summary["warnings"]


def test_one_accession_on_several_channels_is_legal(ingest):
    folder = ingest(
        panel=[{"channel": "A", "uniprot": "P04626"}, {"channel": "B", "uniprot": "P04626"}]
    )
    assert list(pd.read_parquet(folder / "channels.parquet")["uniprot_id"]) == ["P04626"] * 2
    summary = json.loads((folder / "ingest.json").read_text())
    assert summary["accessions_on_several_channels"] == ["P04626"] and summary["warnings"] == []


def test_pixels_that_are_no_counts_are_counted(ingest, images):
    image = tifffile.imread(images / "p1_1.tiff")
    image[0, 0, :3] = (-1, np.nan, np.inf)
    tifffile.imwrite(images / "p1_1.tiff", image, photometric="minisblack")
    folder = ingest()
    written, _ = read_ome_zarr(folder / "images/p1_1.ome.zarr")
    assert written[0, 0, :3].tolist() == [0, 0, 0]
    warnings = json.loads((folder / "ingest.json").read_text())["warnings"]
    assert "3 pixels of 1 tissues were negative or not finite and became 0: p1_1" in warnings


def test_data_beside_retrieved_json_are_found(ingest, tmp_path, images):
    check = {"size": 1, "md5": "0" * 32, "url": "https://x.org/a"}
    folder = ingest(
        source={"files": [{"name": "a.zip", **check}]}, retrieved=str(images / "retrieved.json")
    )
    assert len(pd.read_parquet(folder / "tissues.parquet")) == 2


@pytest.fixture
def spora(ingest, cohort, tmp_path):
    """Arrange what ingest wrote in the spora layout; returns the folder and its cohort."""
    folder, data = ingest(), tmp_path / "spora"
    for written, published in {
        "tissues.parquet": "metadata/tissues.parquet",
        "cells.parquet": "metadata/cells.parquet",
        "channels.parquet": "imc/channels.parquet",
        "images": "imc/1_0mpp/images",
        "cell_masks": "segmentations/1_0mpp/cell_masks/instances",
    }.items():
        (data / published).parent.mkdir(parents=True, exist_ok=True)
        (folder / written).rename(data / published)
    panel = {"file": "imc/channels.parquet", "channel": "channel_name", "uniprot": "uniprot_id"}
    cells = {"file": "metadata/cells.parquet", "tissue": "{tissue_id}", "cell": "cell_id"}
    cells |= {"x": "x", "y": "y", "labels": {"type": "type"}}
    mine = cohort(
        id="again",
        source={"folder": "spora"},
        reader="spora",
        layout={},
        panel=panel,
        cells=cells,
        split=None,
    )
    return data, mine


def test_what_we_write_reads_as_spora(spora, images):
    data, mine = spora
    source = read_source(data, mine)
    assert [(t.tissue_id, t.patient_id, t.split) for t in source.tissues] == [
        ("p1_1", "p1", None),
        ("p2_1", "p2", None),
    ]
    # Sizes and the like are ours to measure again, not clinical columns.
    assert source.tissues[0].clinical == {}
    raw = tifffile.imread(images / "p2_1.tiff")
    np.testing.assert_array_equal(source.tissues[1].load_image(), raw)
    np.testing.assert_array_equal(
        source.tissues[1].load_mask(), tifffile.imread(images / "masks/p2_1.tiff")
    )
    assert source.cells["type"].tolist() == ["a", "b", "a", "a", "c", "a"]
    assert source.panel["uniprot_id"].tolist() == ["P10147", None]


def test_channels_per_tissue_of_a_spora_folder_are_kept_apart(spora):
    data, mine = spora
    measured = pd.DataFrame({"A": [True, True], "B": [True, False]}, index=["p1_1", "p2_1"])
    measured.rename_axis("tissue_id").to_parquet(data / "imc/channels_per_tissue.parquet")
    assert [tissue.absent for tissue in read_source(data, mine).tissues] == [(), ("B",)]
    measured[["A"]].rename_axis("tissue_id").to_parquet(data / "imc/channels_per_tissue.parquet")
    with pytest.raises(InputError, match="channels_per_tissue.parquet: no entry for 'B' and 0 mo"):
        read_source(data, mine)


def test_faults_of_a_spora_folder(spora):
    data, mine = spora
    (data / "segmentations/1_0mpp/cell_masks/instances/p1_1.npz").write_bytes(b"PK cut")
    with pytest.raises(InputError, match="p1_1.npz is damaged or truncated"):
        read_source(data, mine).tissues[0].load_mask()
    channels = pd.read_parquet(data / "imc/channels.parquet")
    channels[::-1].to_parquet(data / "imc/channels.parquet")
    with pytest.raises(InputError, match="p1_1.ome.zarr: the image names 2 channels .* another or"):
        read_source(data, mine).tissues[0].load_image()
    channels.to_parquet(data / "imc/channels.parquet")
    (data / "imc/1_0mpp/images/p2_1.ome.zarr/zarr.json").unlink()
    with pytest.raises(InputError, match="p2_1.ome.zarr is damaged or truncated"):
        read_source(data, mine).tissues[1].load_image()
    with pytest.raises(
        InputError, match="none of its 2 tissues has the modality 'mibi', they .*im"
    ):
        (data / "mibi").symlink_to(data / "imc")
        read_source(data, replace(mine, layout={"modality": "mibi"}))
    inline = replace(mine, panel=[{"channel": "A"}])
    with pytest.raises(InputError, match="channels.parquet has 2 channels and the panel names 1"):
        read_source(data, inline)


def test_staged_outputs_appear_together_or_not_at_all(tmp_path):
    file, folder = tmp_path / "a/file", tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_text("old")
    with pytest.raises(RuntimeError), staged(file, folder) as (one, two):
        one.write_text("new")
        two.mkdir()
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["old"] and not file.exists()
    with staged(file, folder) as (one, two):
        one.write_text("new")
        two.mkdir()
    assert file.read_text() == "new" and list(folder.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "folder"]
