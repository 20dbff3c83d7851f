"""Panels whose channels come from a table, lie on named pages, or belong to some tissues only."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.cohorts.readers.archives import File
from workflow_scripts.cohorts.readers.files import Files
from workflow_scripts.cohorts.readers.panel import read_panel
from workflow_scripts.cohorts.readers.tables import read_table
from workflow_scripts.cohorts.readers.tiff import full_scaled, read_labels
from workflow_scripts.cohorts.summary import measured_channels
from workflow_scripts.common.errors import InputError

ROWS = [
    {"channel": "Nd142", "marker": "CD19", "uniprot": "P15391"},
    {"marker": "PD-L1", "uniprot": "Q9NZQ7", "aliases": ["CD274"]},
    {"marker": "DapB", "optional": True},
]


@pytest.fixture
def panel(cohort, tmp_path):
    """Return a function that reads a panel table by ROWS."""

    def read(text, rows=ROWS, **changes):
        spec = {"file": "p.csv", "channel": "metal", "marker": "name", "rows": rows, **changes}
        mine = cohort(panel=spec)
        (mine.folder / "p.csv").write_text(text)
        return read_panel(Files(mine.folder, mine), mine)

    return read


def test_a_table_is_matched_by_metal_and_by_name(panel):
    found = panel("metal,name\n143Nd,CD-274\n142Nd,CD19\n")
    columns = ["original_channel_name", "channel_name", "uniprot_id"]
    assert found[columns].to_numpy().tolist() == [
        ["143Nd", "PD-L1", "Q9NZQ7"],
        ["142Nd", "CD19", "P15391"],
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("142Nd,CD19\n143Nd,PDL1\n144Nd,CD5\n", "not in panel.rows: CD5 .144Nd.; only .* none;"),
        ("142Nd,CD19\n", "not in panel.rows: none; only in panel.rows: PD-L1; complete"),
        ("142Nd,CD20\n143Nd,PDL1\n", "calls channel '142Nd' 'CD20', the cohort file .* 'CD19'"),
        ("142Nd,CD19\nNd142,CD19\n143Nd,PDL1\n", "names channel 'CD19' twice"),
    ],
)
def test_what_does_not_match_is_told(panel, text, sentence):
    with pytest.raises(InputError, match=sentence):
        panel("metal,name\n" + text)


def test_the_table_may_bring_its_own_accession(panel):
    found = panel("metal,name,acc\n142Nd,CD19,\n143Nd,PDL1,\n144Nd,CD5,P06127\n", uniprot="acc")
    assert found["uniprot_id"].tolist() == ["P15391", "Q9NZQ7", "P06127"]


def test_two_channels_with_one_metal_are_refused_whatever_the_spelling(cohort):
    mine = cohort(panel=[{"channel": "Nd142", "marker": "A"}, {"channel": "142Nd", "marker": "B"}])
    with pytest.raises(InputError, match="names channel '142Nd' twice"):
        read_panel(Files(mine.folder, mine), mine)


PAGED = {
    "images": {"pattern": r"^(?P<tissue>(?P<patient>\w+))\.tiff$"},
    "order": {"file": "p.csv", "channel": "metal", "target": "name", "page": "page"},
}


def paged(cohort, text, rows):
    mine = cohort(layout=PAGED, panel=rows)
    (mine.folder / "p.csv").write_text("metal,name,page\n" + text)
    image = np.arange(5 * 6, dtype=np.float32).reshape(5, 2, 3)
    tifffile.imwrite(mine.folder / "t.tiff", image, photometric="minisblack")
    return read_source(mine.folder, mine), image


def test_pages_are_taken_by_their_number(cohort):
    rows = [{"channel": "Nd142", "marker": "CD3"}, {"channel": "Lu175", "marker": "panCK"}]
    text = "Lu175,AE1 panCK,2\nLu175,AE3,2\nNd142,CD3,5\n,,\n"  # two antibodies on one metal
    source, image = paged(cohort, text, rows)
    assert source.panel["channel_name"].tolist() == ["panCK", "CD3"]
    np.testing.assert_array_equal(source.tissues[0].load_image(), image[[1, 4]])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Lu175,panCK,2\nLu175,panCK,3\nNd142,CD3,5\n", "channel 'Lu175' is empty or listed twice"),
        ("Lu175,panCK,2\nNd142,CD3,6\n", "has 5 pages and the panel names page 6"),
        ("Lu175,panCK,2\nNd142,CD4,5\n", "calls channel 'Nd142' 'CD4'"),
        ("Lu175,panCK,2\nNd142,CD3,5\nY89,x,1\n", "not in the panel: Y89; only in the panel: none"),
    ],
)
def test_pages_that_do_not_fit_are_told(cohort, text, sentence):
    rows = [{"channel": "Nd142", "marker": "CD3"}, {"channel": "Lu175", "marker": "panCK"}]
    with pytest.raises(InputError, match=sentence):
        source, _ = paged(cohort, text, rows)
        source.tissues[0].load_image()


def test_channels_of_some_tissues_only(cohort):
    mine = cohort(
        layout={"images": {"pattern": r"^(?P<tissue>(?P<patient>\w+))\.tiff$"}},
        panel=[{"channel": "A"}, {"channel": "B", "tissues": "z.*"}],
    )
    for name in ("b1", "z1"):
        tifffile.imwrite(mine.folder / f"{name}.tiff", np.ones((2, 3, 4), np.float32))
    source = read_source(mine.folder, mine)
    assert [tissue.absent for tissue in source.tissues] == [("B",), ()]
    assert [tissue.load_image().sum() for tissue in source.tissues] == [12, 24]
    expected = pd.DataFrame({"A": [True, True], "B": [False, True]}, index=["b1", "z1"])
    pd.testing.assert_frame_equal(measured_channels(source), expected, check_names=False,
                                  check_index_type=False)  # fmt: skip


def test_a_tissue_is_named_by_a_template(cohort):
    pattern = r"(?P<patient>\w+)/(?P<roi>\w+)\.tiff$"
    layout = {"images": {"pattern": pattern, "tissue": "{patient}-{roi}"}}
    mine = cohort(layout=layout, panel=[{"channel": "A"}])
    for name in ("p1/1", "p2/1"):
        (mine.folder / name).parent.mkdir()
        tifffile.imwrite(mine.folder / f"{name}.tiff", np.ones((3, 4), np.float32))
    assert [t.tissue_id for t in read_source(mine.folder, mine).tissues] == ["p1-1", "p2-1"]
    layout["images"]["tissue"] = "{patient}-{region}"
    with pytest.raises(InputError, match="no named group .*region.*; add it"):
        cohort(layout=layout)


def test_fractions_of_full_scale_become_numbers_again():
    whole = np.float32([[0, 1, 65535]])
    np.testing.assert_allclose(full_scaled(whole / np.float32(65535), 65535), whole)
    for kept in (whole, np.float32([[0, 1]]), np.float32([[0.5, 2]])):
        np.testing.assert_array_equal(full_scaled(kept, 65535), kept)


def labels(path, array, *options):
    tifffile.imwrite(path, array)
    return read_labels(File(path.name, str(path.parent), path), *options)


def test_masks_of_fractions_become_labels_again(tmp_path):
    mask = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = labels(tmp_path / "m.tiff", mask / np.float32(65535), 65535)
    np.testing.assert_array_equal(found, mask)
    assert found.dtype == np.int64
    with pytest.raises(InputError, match="expected cell numbers, found fractions"):
        labels(tmp_path / "n.tiff", np.float32([[0.1], [0.00001]] * 2).repeat(2, 1), 65535)


def test_labels_become_ranks(tmp_path):
    found = labels(tmp_path / "m.tiff", np.uint16([[0, 7], [3, 900]]), None, True)
    assert found.tolist() == [[0, 2], [1, 3]]
    found = labels(tmp_path / "n.tiff", np.uint16([[9, 7], [7, 8]]), None, True)  # no background
    assert found.tolist() == [[3, 1], [1, 2]]


def test_rows_of_several_tables_are_put_together(cohort):
    mine = cohort()
    (mine.folder / "a.csv").write_text("id,grade\n1,3\n")
    (mine.folder / "b.csv").write_text("id,arm\n2,x\n")
    files = Files(mine.folder, mine)
    table = read_table(files, {"file": ["a.csv", "b.csv"]}, {"id", "arm"})
    assert table["id"].tolist() == [1, 2] and table["arm"].tolist()[1] == "x"
    with pytest.raises(InputError, match="a.csv, b.csv: no column 'stage'"):
        read_table(files, {"file": ["a.csv", "b.csv"]}, {"stage"})


def test_masks_and_images_without_the_other_are_told(cohort):
    layout = {
        "images": {"pattern": r"^(?P<tissue>(?P<patient>\w+))\.tiff$"},
        "masks": {"pattern": r"^masks/(?P<tissue>\w+)\.tiff$"},
    }
    mine = cohort(layout=layout, panel=[{"channel": "A"}])
    (mine.folder / "masks").mkdir()
    for name in ("one", "two"):
        tifffile.imwrite(mine.folder / f"{name}.tiff", np.ones((3, 4), np.float32))
    for name in ("two", "three"):
        tifffile.imwrite(mine.folder / f"masks/{name}.tiff", np.ones((3, 4), np.uint16))
    assert read_source(mine.folder, mine).warnings == [
        "1 tissues have no cell mask: one",
        "1 cell masks have no image: three",
    ]


def test_masks_may_be_optional(cohort):
    images = {"pattern": r"^(?P<tissue>(?P<patient>\w+))\.tiff$"}
    masks = {
        "archive": "masks.zip",
        "pattern": "(?P<tissue>t)",
        "optional": True,
        "hint": "Make it.",
    }
    mine = cohort(layout={"images": images, "masks": masks}, panel=[{"channel": "A"}])
    tifffile.imwrite(mine.folder / "one.tiff", np.ones((3, 4), np.float32))
    source = read_source(mine.folder, mine)
    assert source.warnings == ["masks masks.zip are absent; Make it."]
    assert source.tissues[0].load_mask is None
