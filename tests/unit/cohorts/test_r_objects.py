"""Tables in files of R: a real single-cell object, and small ones with every kind of column."""

import gzip

import numpy as np
import pandas as pd
import pytest
import rdata
import tifffile

from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.cohorts.readers.files import File, Files
from workflow_scripts.cohorts.readers.r_objects import read_r_table
from workflow_scripts.cohorts.readers.tables import read_table
from workflow_scripts.common.errors import InputError


def file(path):
    return File(path.name, str(path.parent), path=path)


@pytest.fixture
def pancreas(shared):
    """Sheet of the reference data: crops of three images of Damond 2019, and their cells."""
    return shared("real/damond2019")


def test_cells_of_a_real_object_are_those_of_its_masks(pancreas):
    table = read_r_table(file(pancreas / "pancreasSCE.RData"))
    assert table.groupby("ImageName").size().to_dict() == {
        f"{core}_imc.tiff": np.sum(np.unique(tifffile.imread(pancreas / f"{core}_mask.tiff")) > 0)
        for core in ("E34", "G01", "J02")
    }
    for name, cells in table.groupby("MaskName"):
        mask = tifffile.imread(pancreas / name)
        assert cells.CellNb.tolist() == np.unique(mask)[1:].tolist()
        assert (cells.rownames == name[:4] + cells.CellNb.astype(str)).all()
        # A cell that the crop does not cut has its area, and its place up to the crop's corner.
        edge = np.unique(np.r_[mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        whole = cells[~cells.CellNb.isin(edge)]
        area = np.bincount(mask.ravel())[whole.CellNb]
        assert np.mean(whole.Area == area) > 0.9 and len(whole) > 60
        rows, columns = np.indices(mask.shape)
        x = np.bincount(mask.ravel(), columns.ravel())[whole.CellNb] / area
        shift = whole.Pos_X - x
        assert np.mean(np.abs(shift - shift.median()) < 0.6) > 0.9
    assert set(table.CellType.dropna()) == {"celltype_A", "celltype_B", "celltype_C"}
    assert table.Pattern.dtype == bool and table.Pos_X.dtype == float


def test_a_cohort_reads_its_cells_from_an_object(cohort, pancreas):
    mine = cohort(
        source={"folder": str(pancreas)},
        layout={
            "images": {"pattern": r"^(?P<tissue>(?P<slide>[A-Z])\d\d)_imc\.tiff$"},
            "masks": {"pattern": r"^(?P<tissue>[A-Z]\d\d)_mask\.tiff$"},
        },
        panel=[{"channel": name} for name in ("H3", "CD99", "PIN", "CD8a", "CDH1")],
        patient="{slide}",
        cells={
            "file": "pancreasSCE.RData",
            "object": "pancreasSCE",
            "extract": {"ImageName": "^(?P<core>[A-Z0-9]+)_imc"},
            "tissue": "{core}",
            "cell": "CellNb",
            "labels": {"cell_type": "CellType"},
        },
    )
    source = read_source(mine.folder, mine)
    for tissue in source.tissues:
        cells = source.cells[source.cells.tissue_id == tissue.tissue_id]
        assert cells.cell_id.tolist() == np.unique(tissue.load_mask())[1:].tolist()
    assert source.cells.cell_type.str.startswith("celltype_").all() and source.warnings == []


FRAME = pd.DataFrame(
    {
        "text": ["a", "bé", "c"],
        "factor": pd.Categorical(["x", None, "y"], categories=["y", "x"]),
        "whole": np.array([1, 2, 3], np.int32),
        "gap": pd.array([1, None, 3], dtype="Int32"),
        "number": [0.5, np.nan, 2.0],
        "flag": [True, False, True],
        "unsure": pd.array([True, None, False], dtype="boolean"),
    }
)


def test_every_kind_of_column(tmp_path):
    rdata.write_rds(tmp_path / "frame.rds", FRAME)
    table = read_r_table(file(tmp_path / "frame.rds"))
    assert list(table) == list(FRAME)
    assert table.text.tolist() == ["a", "bé", "c"] and table.factor.tolist() == ["x", None, "y"]
    assert table.whole.tolist() == [1, 2, 3] and table.whole.dtype == np.int64
    np.testing.assert_array_equal(table.gap, [1, np.nan, 3])
    np.testing.assert_array_equal(table.number, [0.5, np.nan, 2])
    assert table.flag.tolist() == [True, False, True]
    assert table.unsure.tolist() == [True, None, False]


def test_text_row_names_are_a_column(tmp_path):
    rdata.write_rds(tmp_path / "frame.rds", FRAME[["whole"]].set_axis(["p", "q", "r"]))
    assert read_r_table(file(tmp_path / "frame.rds")).rownames.tolist() == ["p", "q", "r"]


def test_a_workspace_may_hold_several_objects(tmp_path):
    both = {"first": FRAME[["whole"]], "second": FRAME[["text"]]}
    rdata.write_rda(tmp_path / "both.rda", both)
    assert list(read_r_table(file(tmp_path / "both.rda"), "second")) == ["text"]
    with pytest.raises(InputError, match=r"both.rda holds 2 objects \(first, second\); name one"):
        read_r_table(file(tmp_path / "both.rda"))
    with pytest.raises(InputError, match="holds no object 'third'; it has: first, second"):
        read_r_table(file(tmp_path / "both.rda"), "third")


def test_what_is_no_table_is_told(tmp_path):
    rdata.write_rds(tmp_path / "vector.rds", np.array([1.0, 2.0]))
    with pytest.raises(InputError, match="vector.rds holds no table but an object of class REAL"):
        read_r_table(file(tmp_path / "vector.rds"))


@pytest.mark.parametrize("damage", ["cut", "other", "packed"])
def test_a_damaged_file_is_told(damage, tmp_path):
    path = tmp_path / "frame.rds"
    rdata.write_rds(path, FRAME)
    whole = gzip.decompress(path.read_bytes())
    content = {"cut": whole[:-40], "other": b"<html>", "packed": path.read_bytes()[:-30]}
    path.write_bytes(content[damage])
    with pytest.raises(InputError, match="frame.rds is damaged or truncated"):
        read_r_table(file(path))


def test_columns_are_picked_and_missed(cohort, tmp_path):
    mine = cohort()
    rdata.write_rds(mine.folder / "frame.rds", FRAME)
    files = Files(mine.folder, mine)
    spec = {"file": "frame.rds", "keep": {"factor": ["x", "y"]}}
    assert list(read_table(files, spec, {"whole"})) == ["factor", "whole"]
    assert len(read_table(files, spec)) == 2
    with pytest.raises(InputError, match="frame.rds: no column 'wole'; did you mean 'whole'"):
        read_table(files, spec, {"wole"})
