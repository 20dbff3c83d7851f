"""Raw files of the instrument: real ones against steinbock's export, broken ones."""

import zipfile

import numpy as np
import pytest
import tifffile

from demo.simulator.mcd import Acquisition, mcd_bytes
from tests.unit.cohorts.published import acquisition_text
from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.common.errors import InputError

METALS = ["Ag107", "Pr141", "Sm147", "Eu153", "Yb172"]


@pytest.fixture
def raw(cohort):
    """Return a function that describes a cohort of .mcd files."""

    def describe(folder="data", panel=METALS, **layout):
        images = {"pattern": r"(?P<tissue>(?P<patient>\w+))\.mcd$"}
        return cohort(
            source={"folder": str(folder)},
            reader="acquisition",
            layout={"images": images, **layout},
            panel=[{"channel": metal} for metal in panel],
        )

    return describe


def regions(count=2, shape=(2, 4, 3)):
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return [Acquisition(number, image + 100 * number) for number in range(1, count + 1)]


def write(cohort, content, name="tma.mcd"):
    (cohort.folder / name).write_bytes(content)
    return cohort


CHANNELS = [("Pr141", "SMA_141"), ("Ag107", "107Ag")]


@pytest.mark.real
def test_real_files_hold_the_pixels_that_steinbock_exports(raw, shared):
    """Sheet: the regions of the export, there after hot-pixel removal; most agree exactly."""
    folder, export = shared("real/mcd_mock"), shared("real/steinbock_mock/img")
    mine = raw(folder)
    source = read_source(mine.folder, mine)
    assert len(source.tissues) == 6 and source.warnings == []
    for tissue in source.tissues:
        stem, number = tissue.tissue_id.rsplit("_", 1)
        exported = tifffile.imread(export / f"{stem}_{int(number):03d}.tiff")
        image = tissue.load_image()
        assert image.dtype == np.float32 and image.shape == exported.shape
        hot = image != exported
        assert hot.mean() < 0.003 and (image[hot] > exported[hot]).all()
        assert tissue.patient_id == stem and tissue.original_file_name == f"{stem}.mcd"


def test_channels_are_found_by_metal_in_the_order_of_the_panel(raw):
    mine = write(raw(panel=["Ag107", "Pr141"]), mcd_bytes(regions(), CHANNELS))
    source = read_source(mine.folder, mine)
    assert [tissue.tissue_id for tissue in source.tissues] == ["tma_1", "tma_2"]
    for tissue, region in zip(source.tissues, regions(), strict=True):
        np.testing.assert_array_equal(tissue.load_image(), region.image[::-1])


def test_members_of_an_archive_are_read_and_leave_nothing(raw):
    images = {"archive": "raw.zip", "pattern": r"(?P<tissue>(?P<patient>\w+))\.mcd$"}
    mine = raw(panel=["Pr141"], images=images)
    with zipfile.ZipFile(mine.folder / "raw.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "abc":
            archive.writestr(f"{name}.mcd", mcd_bytes(regions(2), CHANNELS))
    source = read_source(mine.folder, mine)
    for _ in range(2):  # in an order in which no copy is still there
        for tissue in source.tissues[::-1]:
            number = int(tissue.tissue_id[-1])
            np.testing.assert_array_equal(tissue.load_image()[0], regions()[number - 1].image[0])
    assert [path.name for path in mine.folder.iterdir()] == ["raw.zip"]
    assert source.warnings == [
        "channels of the acquisitions that the panel does not name are left out (1): Ag107"
    ]


def test_masks_are_matched_by_file_and_number(raw):
    masks = {"pattern": r"mask_(?P<tissue>\w+)_a(?P<acquisition>\d+)\.tiff$"}
    mine = write(raw(panel=["Pr141"], masks=masks), mcd_bytes(regions(), CHANNELS))
    for number in (1, 2):
        mask = np.full((4, 3), number, np.uint16)
        tifffile.imwrite(mine.folder / f"mask_tma_a{number}.tiff", mask)
    source = read_source(mine.folder, mine)
    assert [tissue.load_mask().max() for tissue in source.tissues] == [1, 2]


def test_a_region_without_pixels_is_told_and_can_be_excluded(raw):
    broken = [*regions(1), Acquisition(7, regions(1)[0].image, readable=False)]
    mine = write(raw(panel=["Pr141"]), mcd_bytes(broken, CHANNELS))
    source = read_source(mine.folder, mine)
    with pytest.raises(InputError, match="acquisition 7 holds 0 bytes, expected 4 x 3 pixels"):
        source.tissues[1].load_image()
    mine = raw(panel=["Pr141"], exclude=[{"tissue": "tma_7", "reason": "unreadable"}])
    source = read_source(mine.folder, mine)
    assert [tissue.tissue_id for tissue in source.tissues] == ["tma_1"]
    assert source.warnings[0] == "tissue tma_7 is left out: unreadable"
    mine = raw(panel=["Pr141"], exclude=[{"tissue": ".*", "reason": "none is good"}])
    with pytest.raises(InputError, match="hold no acquisition that is not excluded"):
        read_source(mine.folder, mine)


def test_a_metal_that_was_not_measured_is_told(raw):
    mine = write(raw(panel=["Pr141", "Nd142"]), mcd_bytes(regions(1), CHANNELS))
    source = read_source(mine.folder, mine)
    with pytest.raises(InputError, match="acquisition 1 has no channel Nd142; it has X, Y, Z, Pr1"):
        source.tissues[0].load_image()


def cut_xml(content):
    return content[: content.rfind("</MCDSchema>".encode("utf-16-le"))]


def twisted_xml(content):
    return content.replace("</Acquisition>".encode("utf-16-le"), b"", 1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: b"", "tma.mcd is damaged or truncated .it is empty"),
        (lambda content: content[:200], "it has no description of its acquisitions"),
        (cut_xml, "the description of its acquisitions is cut"),
        (twisted_xml, "tma.mcd is damaged or truncated .mismatched tag"),
    ],
)
def test_a_damaged_file_is_told(change, sentence, raw):
    mine = write(raw(panel=["Pr141"]), change(mcd_bytes(regions(1), CHANNELS)))
    with pytest.raises(InputError, match=sentence):
        read_source(mine.folder, mine)


def test_shots_that_do_not_fill_the_region_are_told(raw):
    content = bytearray(mcd_bytes(regions(1), CHANNELS))
    content[166:170] = np.float32(2).tobytes()  # x of the first shot
    mine = write(raw(panel=["Pr141"]), bytes(content))
    source = read_source(mine.folder, mine)
    with pytest.raises(InputError, match="positions of its shots do not fill 4 x 3 pixels"):
        source.tissues[0].load_image()


def test_a_number_given_twice_is_told(raw):
    mine = write(raw(panel=["Pr141"]), mcd_bytes([*regions(1), *regions(1)], CHANNELS))
    with pytest.raises(InputError, match="acquisition 1 is there twice"):
        read_source(mine.folder, mine)


def test_offsets_beyond_the_file_are_told(raw):
    content = mcd_bytes(regions(1), CHANNELS)
    old, new = ("<DataStartOffset>166", "<DataStartOffset>9166"), ("Offset>406", "Offset>9406")
    for before, after in (old, new):
        assert before.encode("utf-16-le") in content
        content = content.replace(before.encode("utf-16-le"), after.encode("utf-16-le"))
    mine = write(raw(panel=["Pr141"]), content)
    with pytest.raises(InputError, match="it ends before acquisition 1"):
        read_source(mine.folder, mine).tissues[0].load_image()


@pytest.mark.real
def test_a_real_text_file_holds_the_pixels_of_its_acquisition(raw, shared):
    """The .txt beside the .mcd is the same region, written with three decimals."""
    folder = shared("real/mcd_mock")
    text = raw(folder, images={"pattern": r"(?P<tissue>(?P<patient>\w+_ROI_001_1))\.txt$"})
    source = read_source(text.folder, text)
    assert [tissue.tissue_id for tissue in source.tissues] == ["20210305_NE_mockData5_ROI_001_1"]
    binary = raw(folder, images={"pattern": r"(?P<tissue>(?P<patient>\w+mockData5))\.mcd$"})
    regions = {t.tissue_id: t.load_image() for t in read_source(binary.folder, binary).tissues}
    image = source.tissues[0].load_image()
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, regions["20210305_NE_mockData5_1"], atol=5.1e-4, rtol=1e-6)


def text_cohort(raw, content, **layout):
    images = {"pattern": r"(?P<tissue>(?P<patient>\w+))\.txt$"}
    return write(raw(panel=["Pr141"], images=images, **layout), content.encode(), "roi.txt")


def test_text_channels_are_found_by_metal(raw):
    image = regions(1)[0].image
    mine = text_cohort(raw, acquisition_text(image, ["Xe131", "Pr141"]))
    source = read_source(mine.folder, mine)
    np.testing.assert_array_equal(source.tissues[0].load_image(), image[1:])
    assert [tissue.tissue_id for tissue in source.tissues] == ["roi"]
    assert "panel does not name are left out (1): Xe131" in source.warnings[0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: "", "roi.txt is damaged or truncated .it is empty"),
        (lambda text: "a\tb\n1\t2\n", "expected columns X, Y and one per metal such as SMA"),
        (lambda text: text.replace("Xe131", "Pr141"), "two columns hold the metal Pr141"),
        (lambda text: text.replace("Pr141", "Nd142"), "has no channel Pr141; it has Xe131, Nd142"),
        (lambda text: text[: text.rfind("\n", 0, -1) + 1], "11 shots do not fill 4 x 3 pixels"),
        (lambda text: text[:-8], "a row is not complete"),
        (lambda text: text.replace("\t384\t0", "\t384\tx", 1), "roi.txt is damaged or truncated"),
    ],
)
def test_each_fault_of_a_text_file_is_told(raw, change, sentence):
    mine = text_cohort(raw, change(acquisition_text(regions(1)[0].image, ["Xe131", "Pr141"])))
    with pytest.raises(InputError, match=sentence):
        read_source(mine.folder, mine).tissues[0].load_image()


def test_an_optional_metal_may_be_absent(raw, cohort):
    mine = cohort(
        source={"folder": "data"},
        reader="acquisition",
        layout={"images": {"pattern": r"(?P<tissue>(?P<patient>\w+))\.mcd$"}},
        panel=[{"channel": "Pr141"}, {"channel": "Nd142", "optional": True}],
    )
    write(mine, mcd_bytes(regions(1), CHANNELS))
    only = read_source(mine.folder, mine).tissues[0]
    assert only.absent == ("Nd142",)
    np.testing.assert_array_equal(only.load_image()[0], regions()[0].image[0])
    assert not only.load_image()[1].any()
