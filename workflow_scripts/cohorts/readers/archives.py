"""Archives as lists of files: zip is read in place, tar and 7z are unpacked to disk once."""

import errno
import io
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workflow_scripts.common.errors import InputError

DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
)
MEMORY = 32 << 30  # bytes of a member read as a whole; no image or table of a cohort has as many
DEFLATE = 1100  # times that deflate can shrink at most (1032), with some slack
TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True)
class File:
    """One file on disk, or one member of a zip archive (`archive` is then its open ZipFile)."""

    name: str  # path with forward slashes, relative to the data folder or inside the archive
    place: str  # the folder or the archive, for messages
    path: Path | None = None
    archive: zipfile.ZipFile | None = None
    keep: object = None  # whatever must live as long as the file, such as a temporary folder

    def __str__(self):
        return f"{self.place}/{self.name}"

    def open(self):
        """Return a binary file object; a member is streamed, nothing is extracted to disk."""
        if self.archive is None:
            return open(self.path, "rb")
        self._check()
        try:
            return self.archive.open(self.name)
        except DAMAGE as error:
            raise damaged(self, error) from None

    def read(self):
        """Return the whole file as a seekable file object in memory or on disk."""
        if self.archive is None:
            return self.open()
        self._check(MEMORY)
        try:
            return io.BytesIO(self.archive.read(self.name))
        except DAMAGE as error:
            raise damaged(self, error) from None

    def _check(self, limit=None):
        info = self.archive.getinfo(self.name)
        if info.flag_bits & 1:
            raise _protected(self)
        deflated = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        bomb = deflated and info.file_size > DEFLATE * (info.compress_size + 1)
        if bomb or (limit is not None and info.file_size > limit):
            raise InputError(
                f"{self} would unpack from {info.compress_size} to {info.file_size} bytes; "
                "expected an image or a table. Get the archive from its publisher again."
            )


def damaged(file, error):
    """Return the InputError for a file that cannot be read to its end, or a disk that is full."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            f"{file}: no room left on the disk where it is unpacked ({error.strerror}); make room "
            "there, or let `archives` in the settings name a larger disk."
        )
    reason = str(error).partition("\n")[0].rstrip(":")
    return InputError(f"{file} is damaged or truncated ({reason}); retrieve it again.")


def open_archive(path, place=None, file=None):
    """Return the `File`s in a zip, tar or 7z archive, sorted by name, without hidden ones.

    `file` is the open archive where it is not on disk under `path`, `place` its name in messages.
    InputError if it is damaged, protected by a password or names paths outside itself. A tar or
    7z archive is unpacked beside `path`, for as long as one of its files is in use.
    """
    place = place or str(path)
    if not Path(path).exists():
        raise InputError(f"{path}: no such archive; retrieve it, or correct its name.")
    opener = _zip
    if str(place).lower().endswith(TAR):
        opener = _tar
    elif str(place).lower().endswith(".7z"):
        opener = _seven_zip
    try:
        files = opener(Path(path), place, file or path)
    except DAMAGE as error:
        raise damaged(place, error) from None
    return sorted((file for file in files if not is_litter(file.name)), key=lambda file: file.name)


def open_inner(member, folder):
    """Return the files of the archive that is the `member` of another, copied out to `folder`.

    A compressed member cannot be entered midway. The copy has no name: it goes with its last user.
    """
    copy = tempfile.TemporaryFile(dir=writable(folder))
    if member.archive is not None:
        size = member.archive.getinfo(member.name).file_size
        _refuse_too_large(member, size, writable(folder) or tempfile.gettempdir())
    try:
        with member.open() as source:
            shutil.copyfileobj(source, copy, 1 << 20)
    except DAMAGE as error:
        raise damaged(member, error) from None
    return open_archive(folder, str(member), copy)


def is_litter(name):
    """Tell whether a path is hidden: macOS adds `._image.tiff`, which fits an image's pattern."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def writable(folder):
    """Return `folder` if files can be made there, else None (the system's temporary folder)."""
    return folder if os.access(folder, os.W_OK) else None


def _zip(path, place, file):
    archive = zipfile.ZipFile(file)
    _refuse_outside(place, archive.namelist())
    return [
        File(member.filename, place, archive=archive)
        for member in archive.infolist()
        if not member.is_dir()
    ]


def _tar(path, place, file):
    folder, files = _temporary(path), []
    source = {"fileobj": file} if hasattr(file, "read") else {"name": file}
    if "fileobj" in source:
        file.seek(0)
    with tarfile.open(**source, mode="r:*") as archive:
        for number, member in enumerate(archive):
            _refuse_outside(place, [member.name])
            if not member.isfile() or is_litter(member.name):
                continue
            _refuse_too_large(place, member.size, Path(folder.name).parent)
            target = Path(folder.name) / str(number)
            with archive.extractfile(member) as stream, open(target, "wb") as copy:
                shutil.copyfileobj(stream, copy, 1 << 20)
            files.append(File(member.name.removeprefix("./"), place, target, keep=folder))
    return files


def _seven_zip(path, place, file):
    import py7zr  # needed for one cohort only

    if hasattr(file, "read"):
        file.seek(0)
    try:
        with py7zr.SevenZipFile(file) as archive:
            if archive.needs_password():
                raise _protected(place)
            _refuse_outside(place, archive.getnames())
            folder = _temporary(path)
            _refuse_too_large(place, archive.archiveinfo().uncompressed, Path(folder.name).parent)
            archive.extractall(path=folder.name)
    except py7zr.PasswordRequired:
        raise _protected(place) from None
    except py7zr.exceptions.ArchiveError as error:
        raise damaged(place, error) from None
    root = Path(folder.name)
    found = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return [File(path.relative_to(root).as_posix(), place, path, keep=folder) for path in found]


def _temporary(path):
    folder = path if path.is_dir() else path.parent
    return tempfile.TemporaryDirectory(prefix=".unpacked_", dir=writable(folder))


def _refuse_outside(place, names):
    for name in names:
        parts = re.split(r"[/\\]", name)
        if ".." in parts or parts[0] == "" or re.match(r"[A-Za-z]:", name):
            raise InputError(
                f"{place}: member '{name}' points outside the archive; nothing was "
                "read from it. Get the archive from its publisher again."
            )


def _refuse_too_large(place, size, folder):
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"{place} unpacks to {size} bytes and {folder} has {free} free; make room "
            "there, or get the archive from its publisher again if it should be small."
        )


def _protected(file):
    return InputError(
        f"{file} is protected by a password; unpack it with the password and pack it again "
        "without one."
    )
