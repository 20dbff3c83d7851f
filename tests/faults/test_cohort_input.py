"""Bad archives and folders: each gets its sentence, and nothing half-written remains."""

import json
import zipfile
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import yaml

from workflow_scripts.cohorts import ingest as rule
from workflow_scripts.common.errors import InputError

CELLS = {"file": "cells.csv", "tissue": "{tissue}", "cell": "cell"}
OUTPUTS = ("images", "cell_masks", "tissue_masks", "channels", "tissues", "cells")
OUTPUTS += ("neighbours", "channels_per_tissue", "exclusions", "summary")


def tiff(array, **options):
    file = BytesIO()
    tifffile.imwrite(file, array, photometric="minisblack", **options)
    return file.getvalue()


def image(channels=3, side=20):
    return np.random.default_rng(0).poisson(4, (channels, side, side)).astype(np.float32)


def mask(side=20):
    labels = np.zeros((side, side), np.uint16)
    labels[2:5, 2:5], labels[8:12, 8:12] = 1, 2
    return labels


@pytest.fixture
def ingest(tmp_path):
    """Write a zip with one tissue, changed as asked, ingest it and check that nothing remains."""

    def run(members=None, damage=None, cells=None, **changes):
        data, out = tmp_path / "data", tmp_path / "out"
        data.mkdir()
        good = {"p1.tiff": tiff(image()), "masks/p1.tiff": tiff(mask())}
        with zipfile.ZipFile(data / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in {**good, **(members or {})}.items():
                archive.writestr(name, content)
        if damage:
            content = (data / "a.zip").read_bytes()
            (data / "a.zip").write_bytes(damage(content))
        document = {
            "id": "mine",
            "title": "a cohort for tests",
            "access": "open",
            "source": {"folder": "data"},
            "reader": "stack_tiff",
            "layout": {
                "images": {"archive": "a.zip", "pattern": r"^(?P<tissue>p\d)\.tiff$"},
                "masks": {"archive": "a.zip", "pattern": r"^masks/(?P<tissue>p\d)\.tiff$"},
            },
            "panel": [{"channel": name} for name in ("A", "B", "C")],
            "patient": "{tissue}",
            **changes,
        }
        if cells:
            (data / "cells.csv").write_text(cells)
            document["cells"] = CELLS
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(document))
        try:
            rule.main(
                SimpleNamespace(
                    input=SimpleNamespace(cohort=str(tmp_path / "mine.yaml")),
                    output=SimpleNamespace(**{name: str(out / name) for name in OUTPUTS}),
                    params=SimpleNamespace(mask_sigma=2.0),
                    threads=1,
                )
            )
        except InputError:
            assert not out.exists() or not list(out.iterdir()), "something half-written remains"
            assert not (tmp_path / "evil").exists() and not (tmp_path.parent / "evil").exists()
            raise
        return json.loads((out / "summary").read_text())

    return run


def test_the_archive_without_a_fault_passes(ingest):
    assert ingest(cells="tissue,cell\np1,1\np1,2\n")["cells"] == 2


def test_panel_and_image_disagree_in_channel_count(ingest):
    sentence = "a.zip/p1.tiff: the image has 4 channels and the panel names 3; correct the panel"
    with pytest.raises(InputError, match=sentence):
        ingest({"p1.tiff": tiff(image(4))})


def test_duplicate_channel_names(ingest):
    with pytest.raises(InputError, match="mine.yaml: the panel names channel 'A' twice; give"):
        ingest(panel=[{"channel": "A"}, {"channel": "B"}, {"channel": "A"}])


def test_mask_and_image_of_different_size(ingest):
    sentence = "masks/p1.tiff: the mask is 21 x 21 pixels and the image of tissue p1 is 20 x 20"
    with pytest.raises(InputError, match=sentence):
        ingest({"masks/p1.tiff": tiff(mask(21))})


def test_a_cell_table_that_names_cells_which_are_not_in_the_mask(ingest):
    sentence = "cells.csv: tissue p1 names 2 cells that are not in the mask .*p1.tiff: 8, 9; bring"
    with pytest.raises(InputError, match=sentence):
        ingest(cells="tissue,cell\np1,1\np1,8\np1,9\n")


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ("tissue,cell\np1,1\np1,1\n", "cells.csv: cell 1 of tissue p1 is on several rows"),
        ("tissue,cell\np1,0\n", "column 'cell': '0' is not the number of a cell in a mask"),
        ("tissue,cell\np1,1.5\n", "column 'cell': '1.5' is not the number of a cell"),
        ("tissue,cell\nq1,1\n", "none of its tissues .'q1', .... is among the images .'p1', ..."),
        ("tissue,cel\np1,1\n", "no column 'cell'; did you mean 'cel'?"),
    ],
)
def test_other_faults_of_a_cell_table(ingest, cells, sentence):
    with pytest.raises(InputError, match=sentence):
        ingest(cells=cells)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"metadata": None}])
def test_a_truncated_tiff(ingest, share, options):
    """Cut pages, and a cut chain of pages, which some writers put behind the pixels."""
    whole = tiff(image(), **options)
    with pytest.raises(InputError, match="a.zip/p1.tiff is damaged or truncated .*retrieve it"):
        ingest({"p1.tiff": whole[: int(share * len(whole))]})


def test_a_truncated_tiff_on_disk(ingest, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/p1.tiff").write_bytes(tiff(image())[:2000])
    layout = {"images": {"pattern": r"^(?P<tissue>p\d)\.tiff$"}}
    with pytest.raises(InputError, match="disk/p1.tiff is damaged or truncated"):
        ingest(source={"folder": "disk"}, layout=layout)


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_truncated_archive(ingest, keep):
    with pytest.raises(InputError, match="a.zip is damaged or truncated .*; retrieve it again."):
        ingest(damage=lambda content: content[: int(keep * len(content))])


def test_a_damaged_member(ingest):
    def damage(content):
        middle = len(content) // 3
        return content[:middle] + bytes(50) + content[middle + 50 :]

    with pytest.raises(InputError, match="a.zip/p1.tiff is damaged or truncated"):
        ingest(damage=damage)


def test_no_archive_but_a_page(ingest):
    with pytest.raises(InputError, match="a.zip is damaged or truncated .File is not a zip"):
        ingest(damage=lambda content: b"<html>Please log in</html>")


@pytest.mark.parametrize(
    "name", ["../evil", "masks/../../evil", "/evil", "..\\evil", "C:\\evil", "C:/evil", "\\evil"]
)
def test_a_member_that_points_outside(ingest, name):
    with pytest.raises(InputError, match="points outside the archive; nothing was read from it"):
        ingest({name: b"evil"})


def test_a_dot_in_a_name_is_no_way_out(ingest):
    assert ingest({"a..b/c...txt": b"good"})["tissues"] == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"source": {"folder": "elsewhere"}}, "the data folder .*/elsewhere does not exist"),
        (
            {"layout": {"images": {"archive": "b.zip", "pattern": "(?P<tissue>a)"}}},
            "b.zip: no such archive; retrieve it",
        ),
        (
            {"layout": {"images": {"archive": "a.zip", "pattern": "(?P<tissue>a)x"}}},
            "no file fits .*; it holds 2 files, the first are: masks/p1.tiff, p1.tiff;",
        ),
        (
            {"layout": {"images": {"archive": "a.zip", "pattern": r"(?P<tissue>p\d)\.tiff"}}},
            "p1.tiff: 'p1' is already given by masks/p1.tiff; make the pattern narrower",
        ),
        (
            {"layout": {"images": {"archive": "a.zip", "pattern": "^(?P<tissue>.*1)"}}},
            "'masks/p1' cannot name a tissue, because files are named after it",
        ),
        ({"pixel_size": 0.4}, "mine.yaml: pixel_size is 0.4 um; expected 1 um or a whole"),
    ],
)
def test_layouts_that_do_not_fit(ingest, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        ingest(**changes)


def test_a_mask_of_fractions(ingest):
    with pytest.raises(InputError, match="p1.tiff: expected cell numbers, found fractions"):
        ingest({"masks/p1.tiff": tiff((mask() / 65535).astype(np.float32))})


def test_channels_in_the_last_axis_and_whole_numbers_as_floats_are_read(ingest):
    interleaved = BytesIO()
    tifffile.imwrite(interleaved, np.moveaxis(image(), 0, -1), photometric="rgb")
    members = {
        "p1.tiff": interleaved.getvalue(),
        "masks/p1.tiff": tiff(mask().astype(np.float32)),
    }
    assert ingest(members)["cells"] == 2


@pytest.fixture
def channel_folders(ingest, tmp_path):
    """Ingest a tissue with one file per channel, after a change to its folder."""

    def run(change):
        folder = tmp_path / "one/p1"
        folder.mkdir(parents=True)
        for name in "ABC":
            tifffile.imwrite(folder / f"{name}.tif", image()[0])
        change(folder)
        pattern = r"^(?P<tissue>p\d)/(?P<channel>.+)\.tif$"
        return ingest(
            source={"folder": "one"}, reader="channel_tiff", layout={"images": {"pattern": pattern}}
        )

    return run


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda folder: (folder / "B.tif").unlink(),
            "tissue p1: 2 channel files and 3 channels in the panel: no file for B; not in .* none",
        ),
        (
            lambda folder: tifffile.imwrite(folder / "D.tif", image()[0]),
            "tissue p1: 4 channel files and 3 .* no file for none; not in the panel: D; correct",
        ),
        (
            lambda folder: tifffile.imwrite(folder / "B.tif", image(1, 21)[0]),
            "p1/B.tif: expected one channel of the size of p1/A.tif, .20, 20., found .21, 21.",
        ),
        (
            lambda folder: (folder / "C.tif").write_bytes((folder / "C.tif").read_bytes()[:300]),
            "one/p1/C.tif is damaged or truncated",
        ),
    ],
)
def test_faults_of_channel_files(channel_folders, change, sentence):
    with pytest.raises(InputError, match=sentence):
        channel_folders(change)


def test_channel_files_without_a_fault_pass(channel_folders):
    assert channel_folders(lambda folder: None)["channels"] == 3


@pytest.fixture
def steinbock(ingest, tmp_path):
    """Ingest a steinbock folder whose panel.csv and images.csv are given."""

    def run(panel, images="image,num_channels\np1.tiff,3\n"):
        folder = tmp_path / "steinbock"
        (folder / "img").mkdir(parents=True)
        tifffile.imwrite(folder / "img/p1.tiff", image(), photometric="minisblack")
        (folder / "panel.csv").write_text(panel)
        (folder / "images.csv").write_text(images)
        return ingest(source={"folder": "steinbock"}, reader="steinbock", layout={})

    return run


GOOD_PANEL = "channel,name,keep\nA,A,1\nX,unused,0\nB,B,1\nC,C,1\n"


def test_steinbock_keeps_the_channels_that_its_panel_keeps(steinbock):
    assert steinbock(GOOD_PANEL)["channels"] == 3


@pytest.mark.parametrize(
    ("panel", "images", "sentence"),
    [
        (GOOD_PANEL.replace("C,C,1", "C,C,0"), None, "2 channels and the panel names 3: .*: C;"),
        (GOOD_PANEL.replace("X,unused,0", "X,used,1"), None, "not in the panel: X; only in"),
        (GOOD_PANEL, "image,num_channels\np1.tiff,4\n", "p1.tiff has 4 channels and panel.csv"),
    ],
)
def test_faults_of_a_steinbock_folder(steinbock, panel, images, sentence):
    with pytest.raises(InputError, match=sentence):
        steinbock(panel, *([images] if images else []))
