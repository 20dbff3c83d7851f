"""Archives of every kind: what is read from them, and what is refused."""

import errno
import io
import struct
import tarfile
import zipfile
from types import SimpleNamespace

import py7zr
import pytest

from tests.unit.cohorts.published import tarred, zipped
from workflow_scripts.cohorts.readers import archives
from workflow_scripts.cohorts.readers.archives import File, open_archive, open_inner
from workflow_scripts.cohorts.readers.files import Files
from workflow_scripts.common.errors import InputError

CONTENT = {"a/one.txt": b"1", "a/two.txt": b"22", "a/._one.txt": b"litter", "__MACOSX/x": b""}


@pytest.fixture
def files(cohort, tmp_path):
    mine = cohort()
    return Files(tmp_path / "data", mine)


def seven_zipped(path, content, **options):
    with py7zr.SevenZipFile(path, "w", **options) as archive:
        for name, data in content.items():
            archive.writestr(data, name)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "x.7z", "outer.zip!x.zip"])
def test_members_are_read_from_every_kind(name, files):
    if name.endswith("7z"):
        seven_zipped(files.folder / name, CONTENT)
    elif "tar" in name or "tgz" in name:
        with tarfile.open(files.folder / name, "w:gz" if "gz" in name else "w") as archive:
            for member, data in CONTENT.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    elif "!" in name:
        inner = {"deep/x.zip": zipped(**CONTENT), "deep/y.zip": b""}
        (files.folder / "outer.zip").write_bytes(zipped(**inner))
    else:
        (files.folder / name).write_bytes(zipped(**CONTENT))
    found = files.list(name)
    assert [file.name for file in found] == ["a/one.txt", "a/two.txt"]
    assert [file.read().read() for file in found] == [b"1", b"22"]
    assert files.find("two.txt", name).open().read() == b"22"
    assert name.partition("!")[0] in str(found[0])


@pytest.mark.parametrize("suffix", ["tar.gz", "7z"])
def test_what_is_unpacked_goes_with_its_last_user(suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"
    seven_zipped(path, CONTENT) if suffix == "7z" else tarred(path, CONTENT)
    one, two = open_archive(path)
    assert len(list(tmp_path.iterdir())) == 2
    del one
    assert two.read().read() == b"22"
    del two
    assert list(tmp_path.iterdir()) == [path]


def test_archives_are_found_by_a_glob(files):
    for name in "ab":
        (files.folder / f"{name}.zip").write_bytes(zipped(**{f"{name}.txt": b""}))
    assert [file.name for file in files.list("*.zip")] == ["a.txt", "b.txt"]
    assert files.has("*.zip") and files.has(["a.zip", "b.zip!x"]) and not files.has("c*.zip")
    with pytest.raises(InputError, match="c.zip: no such archive; retrieve it, or correct"):
        files.list("c.zip")
    with pytest.raises(InputError, match="a.zip!x.zip: 0 members fit 'x.zip', expected one archi"):
        files.list("a.zip!x.zip")


def test_several_files_may_say_the_same(files):
    content = {"a/order.csv": "In113\n", "b/order.csv": "In113\n"}
    (files.folder / "x.zip").write_bytes(zipped(**content))
    with pytest.raises(InputError, match="2 members fit 'order.csv'"):
        files.find("order.csv", "x.zip")
    assert files.find("order.csv", "x.zip", alike=True).name == "a/order.csv"
    (files.folder / "y.zip").write_bytes(zipped(**content, **{"c/order.csv": "In115\n"}))
    with pytest.raises(InputError, match="y.zip/c/order.csv differs from a/order.csv, although"):
        files.find("order.csv", "y.zip", alike=True)


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "C:\\out.txt"])
@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_paths_outside_an_archive_are_refused(name, suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"
    if suffix == "zip":
        path.write_bytes(zipped(**{"ok.txt": b"", name: b"evil"}))
    else:
        tarred(path, {"ok.txt": b"", name: b"evil"})
    with pytest.raises(InputError, match="points outside the archive; nothing was read from it"):
        open_archive(path)
    assert list(tmp_path.iterdir()) == [path]


def test_links_in_a_tar_are_no_files(tmp_path):
    path, secret = tmp_path / "x.tar", tmp_path / "secret"
    secret.write_text("secret")
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("a/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
    assert open_archive(path) == []


def edited(content, change):
    """Return a zip whose headers, local and central, are changed by `change(header, kind)`."""
    data = bytearray(content)
    for signature, kind in ((b"PK\3\4", "local"), (b"PK\1\2", "central")):
        change(data, data.find(signature), kind)
    return bytes(data)


def test_a_member_with_a_password_is_refused(tmp_path):
    def protect(data, start, kind):
        data[start + (6 if kind == "local" else 8)] |= 1

    path = tmp_path / "x.zip"
    path.write_bytes(edited(zipped(**{"a.tiff": b"x" * 20}), protect))
    (member,) = open_archive(path)
    for read in (member.open, member.read):
        with pytest.raises(InputError, match="x.zip/a.tiff is protected by a password; unpack it"):
            read()
    seven_zipped(tmp_path / "x.7z", CONTENT, password="secret")
    with pytest.raises(InputError, match="x.7z is protected by a password; unpack it"):
        open_archive(tmp_path / "x.7z")


def test_a_member_that_explodes_is_refused(tmp_path):
    def claim(size):
        def change(data, start, kind):
            place = start + (22 if kind == "local" else 24)
            data[place : place + 4] = struct.pack("<I", size)

        return change

    path = tmp_path / "x.zip"
    path.write_bytes(edited(zipped(**{"a.tiff": b"x" * 20}), claim(4_000_000_000)))
    (member,) = open_archive(path)
    for read in (member.open, member.read):
        with pytest.raises(InputError, match="would unpack from .* to 4000000000 bytes; expected"):
            read()
    # A mask of zeros shrinks a thousand times and is no bomb.
    path.write_bytes(zipped(**{"zeros.tiff": bytes(10_000_000)}))
    (member,) = open_archive(path)
    assert len(member.read().read()) == 10_000_000


def test_an_archive_larger_than_the_disk_is_told(tmp_path):
    info = tarfile.TarInfo("huge.tiff")
    info.size = 1 << 60
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(InputError, match=r"x.tar unpacks to 1152921504606846976 bytes and .* free"):
        open_archive(tmp_path / "x.tar")


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "7z"])
def test_a_damaged_archive_is_told(suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(b"this is no archive at all" * 10)
    with pytest.raises(InputError, match=f"x.{suffix} is damaged or truncated .*; retrieve it"):
        open_archive(path)


def test_a_cut_member_is_told(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.tiff", b"x" * 100)
    data = bytearray(path.read_bytes())
    data[60] ^= 255
    path.write_bytes(data)
    (member,) = open_archive(path)
    with pytest.raises(InputError, match="x.zip/a.tiff is damaged or truncated"):
        member.read()


def test_a_file_names_its_place():
    assert str(File("a/b.tiff", "x.zip")) == "x.zip/a/b.tiff"


@pytest.mark.parametrize("name", ["outer.zip", "x.tar"])
def test_a_disk_that_becomes_full_while_unpacking_is_told(name, tmp_path, monkeypatch):
    """Not as damage, for which the archive would be retrieved again."""

    def fill_the_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "outer.zip").write_bytes(zipped(**{"inner.zip": zipped(**{"p1.tiff": b"1"})}))
    tarred(tmp_path / "x.tar", {"p1.tiff": b"1"})
    monkeypatch.setattr(archives.shutil, "copyfileobj", fill_the_disk)
    with pytest.raises(InputError, match=f"{name}.*: no room left on the disk where"):
        if name.endswith(".zip"):
            open_inner(open_archive(tmp_path / name)[0], tmp_path)
        else:
            open_archive(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outer.zip", "x.tar"]


def test_an_inner_archive_larger_than_the_disk_is_told(tmp_path, monkeypatch):
    (tmp_path / "outer.zip").write_bytes(zipped(**{"inner.zip": bytes(1000)}))
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: SimpleNamespace(free=999))
    with pytest.raises(InputError, match="inner.zip unpacks to 1000 bytes and .* has 999 free"):
        open_inner(open_archive(tmp_path / "outer.zip")[0], tmp_path)


def test_a_link_in_a_7z_leads_nowhere_else(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "link").symlink_to(outside)
    with py7zr.SevenZipFile(tmp_path / "x.7z", "w") as archive:
        archive.write(tmp_path / "link", "link")
        archive.writestr(b"planted", "link/planted.txt")
    with pytest.raises(InputError, match="x.7z is damaged or truncated .*retrieve it again"):
        open_archive(tmp_path / "x.7z")
    assert not list(outside.iterdir())
