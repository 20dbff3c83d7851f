"""Cell tables against masks, with misalignments planted."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from workflow_scripts.cohorts.overlap import check_overlap, overlap, realign
from workflow_scripts.cohorts.pixels import centroids


@pytest.fixture
def mask():
    """Return a mask of 100 square cells with numbers in a random order."""
    labels = np.random.default_rng(0).permutation(100) + 1
    return np.kron(labels.reshape(10, 10), np.pad(np.ones((4, 4), int), (0, 2)))


def table(mask):
    return centroids(mask).assign(kind=lambda cells: cells["cell_id"] * 10)


def test_a_table_of_its_own_mask_fits(mask):
    cells = table(mask)
    used, pair = check_overlap(cells, mask, 0.9, "coordinates")
    assert pair.before == pair.after == 1.0 and pair.accepted and not pair.aligned
    pd.testing.assert_frame_equal(used, cells)


@pytest.mark.parametrize("align", [None, "coordinates"])
def test_exchanged_numbers_are_set_right_by_coordinates(mask, align):
    cells = table(mask)
    truth = cells.copy()
    cells["cell_id"] = np.roll(cells["cell_id"], 1)  # every number belongs to another cell
    used, pair = check_overlap(cells, mask, 0.9, align)
    assert pair.before == 0.0 and pair.accepted == (align is not None)
    if align:
        assert pair.after == 1.0 and pair.aligned
        pd.testing.assert_frame_equal(used, truth, check_dtype=False)


def test_a_mask_of_another_tissue_is_not_accepted(mask):
    cells = table(mask)
    other = np.zeros_like(mask)
    other[:6, :6] = mask[:6, :6]
    _, pair = check_overlap(cells, other, 0.9, "coordinates")
    assert pair.before == pair.after == 0.01 and not pair.accepted


def test_a_shifted_mask_is_told_by_its_overlap(mask):
    """Cells are 4 px wide and 2 px apart, their middle is pixel 2: a shift of 3 px leaves them."""
    cells = table(mask)
    found = [overlap(cells, np.roll(mask, shift, axis=1)) for shift in range(5)]
    assert found == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_one_cell_per_label_the_nearest():
    mask = np.zeros((8, 8), int)
    mask[2:5, 2:5] = 7
    cells = pd.DataFrame({"cell_id": [1, 2, 3], "x": [2.0, 3.2, 6.0], "y": [2.0, 3.0, 6.0]})
    found = realign(cells.assign(kind=["far", "near", "outside"]), mask)
    assert found[["cell_id", "kind"]].to_numpy().tolist() == [[7, "near"]]


def test_coordinates_outside_the_mask_or_missing_count_as_off():
    mask = np.ones((4, 4), int)
    cells = pd.DataFrame({"cell_id": [1, 1, 1, 1], "x": [0, -3.0, 9, np.nan], "y": [0, 0, 0, 1.0]})
    assert overlap(cells, mask) == 0.25
    assert overlap(cells.assign(x=np.nan), mask) is None
    _, pair = check_overlap(cells.assign(x=np.nan), mask, 0.9)
    assert pair.accepted and pair.before is None


def test_the_rule_lists_what_does_not_fit(cohort_file, tmp_path):
    """One tissue fits, one is aligned, one has the mask of another: it keeps its image alone."""
    from types import SimpleNamespace

    from workflow_scripts.cohorts import ingest

    path = cohort_file(
        layout={
            "images": {"pattern": r"^(?P<tissue>(?P<patient>\w+))\.tiff$"},
            "masks": {"pattern": r"^masks/(?P<tissue>\w+)\.tiff$"},
        },
        cells={
            "file": "cells.csv",
            "tissue": "{tissue}",
            "cell": "cell",
            "x": "x",
            "y": "y",
            "labels": {"kind": "kind"},
            "align": "coordinates",
            "min_overlap": 0.9,
        },
    )
    data, rng = tmp_path / "data", np.random.default_rng(0)
    (data / "masks").mkdir()
    mask = np.kron(np.arange(1, 26).reshape(5, 5), np.pad(np.ones((4, 4), int), (0, 2)))
    rows = []
    for name in ("fits", "aligned", "other"):
        image = rng.poisson(3, (2, *mask.shape)).astype(np.float32)
        tifffile.imwrite(data / f"{name}.tiff", image, photometric="minisblack")
        own = np.where(mask < 3, mask, 0) if name == "other" else mask
        tifffile.imwrite(data / f"masks/{name}.tiff", own.astype(np.uint16))
        cells = centroids(mask).assign(tissue=name, kind=lambda t: "k" + t["cell_id"].astype(str))
        if name == "aligned":
            cells["cell_id"] = 26 - cells["cell_id"]
        rows.append(cells.rename(columns={"cell_id": "cell"}))
    pd.concat(rows).to_csv(data / "cells.csv", index=False)
    names = {"images": "images", "cell_masks": "cell_masks", "tissue_masks": "tissue_masks"}
    names |= {"exclusions": "exclusions.csv", "summary": "ingest.json"}
    tables = ("channels", "tissues", "cells", "neighbours", "channels_per_tissue")
    names |= {name: f"{name}.parquet" for name in tables}
    out = tmp_path / "out"
    ingest.main(
        SimpleNamespace(
            input=SimpleNamespace(cohort=str(path), retrieved=None),
            output=SimpleNamespace(**{key: str(out / name) for key, name in names.items()}),
            params=SimpleNamespace(mask_sigma=2.0),
            threads=1,
        )
    )
    listed = pd.read_csv(out / "exclusions.csv")
    assert listed["tissue_id"].tolist() == ["other"] and "image is kept" in listed["reason"][0]
    assert listed[["overlap_before", "overlap_after"]].to_numpy().tolist() == [[0.08, 0.08]]
    assert sorted(p.stem for p in (out / "cell_masks").iterdir()) == ["aligned", "fits"]
    assert len(pd.read_parquet(out / "tissues.parquet")) == 3
    cells = pd.read_parquet(out / "cells.parquet")
    assert cells["tissue_id"].value_counts().to_dict() == {"aligned": 25, "fits": 25}
    assert (cells["kind"] == "k" + cells["cell_id"].astype(str)).all()
    warnings = json.loads((out / "ingest.json").read_text())["warnings"]
    assert any("tissue aligned: 4.0% of its cells lie on their label in the mask, 100.0% after" in w
               for w in warnings)  # fmt: skip
    assert any("tissue other: 8.0%" in w and "left out, mask and cells" in w for w in warnings)
