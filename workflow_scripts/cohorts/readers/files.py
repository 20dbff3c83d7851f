"""The files of a cohort: a folder on disk and the zip archives in it."""

import io
import re
import zipfile
import zlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from workflow_scripts.common.errors import InputError

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


@dataclass(frozen=True)
class File:
    """One file on disk, or one member of an archive (`archive` is then its open ZipFile)."""

    name: str  # path with forward slashes, relative to the data folder or inside the archive
    place: str  # the folder or the archive, for messages
    path: Path | None = None
    archive: zipfile.ZipFile | None = None

    def __str__(self):
        return f"{self.place}/{self.name}"

    def open(self):
        """Return a binary file object; a member is streamed, nothing is extracted to disk."""
        if self.archive is None:
            return open(self.path, "rb")
        try:
            return self.archive.open(self.name)
        except DAMAGE as error:
            raise damaged(self, error) from None

    def read(self):
        """Return the whole file as a seekable file object in memory or on disk."""
        if self.archive is None:
            return self.open()
        try:
            return io.BytesIO(self.archive.read(self.name))
        except DAMAGE as error:
            raise damaged(self, error) from None


def damaged(file, error):
    """Return the InputError for a file that cannot be read to its end."""
    return InputError(f"{file} is damaged or truncated ({error}); retrieve it again.")


class Files:
    """Finds files in the data folder, in its archives and beside the cohort's YAML file."""

    def __init__(self, folder, cohort):
        self.folder = Path(folder)
        self.beside = cohort.path.parent
        self._archives = {}
        if not self.folder.is_dir():
            raise InputError(
                f"{cohort.path}: the data folder {self.folder} does not exist; check source.folder."
            )

    def list(self, archives=()):
        """Return the files of the named archives, or of the folder, sorted by name."""
        if archives:
            return [file for name in _as_list(archives) for file in self._members(name)]
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(
            (
                File(path.relative_to(self.folder).as_posix(), str(self.folder), path=path)
                for path in paths
                if not _is_litter(path.relative_to(self.folder).as_posix())
            ),
            key=lambda file: file.name,
        )

    def find(self, pattern, archives=()):
        """Return the one file whose path fits `pattern` (a path or glob), or None.

        It is looked up in the archives, then in the data folder, then beside the YAML file.
        """
        for name in _as_list(archives):
            found = [file for file in self._members(name) if _fits(file.name, pattern)]
            if len(found) > 1:
                raise InputError(
                    f"{self.folder / name}: {len(found)} members fit '{pattern}' "
                    f"({found[0].name}, {found[1].name}); write a longer path."
                )
            if found:
                return found[0]
        for folder in (self.folder, self.beside):
            path = folder / pattern
            paths = [path] if path.is_file() else sorted(_glob(folder, pattern))
            if len(paths) > 1:
                raise InputError(
                    f"{folder}: {len(paths)} files fit '{pattern}' ({paths[0].name}, "
                    f"{paths[1].name}); write a longer path."
                )
            if paths:
                return File(pattern if path.is_file() else paths[0].name, str(folder), paths[0])
        return None

    def _members(self, name):
        if name not in self._archives:
            self._archives[name] = _open_archive(self.folder / name)
        return self._archives[name]


def _open_archive(path):
    """Return the members of a zip archive; InputError if it is damaged or names unsafe paths."""
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such archive; retrieve it, or correct its name.") from None
    except DAMAGE as error:
        raise damaged(path, error) from None
    for member in archive.infolist():
        parts = re.split(r"[/\\]", member.filename)
        if ".." in parts or parts[0] == "" or re.match(r"[A-Za-z]:", member.filename):
            raise InputError(
                f"{path}: member '{member.filename}' points outside the archive; nothing was "
                "read from it. Get the archive from its publisher again."
            )
    return sorted(
        (
            File(member.filename, str(path), archive=archive)
            for member in archive.infolist()
            if not member.is_dir() and not _is_litter(member.filename)
        ),
        key=lambda file: file.name,
    )


def _is_litter(name):
    """Tell whether a path is hidden: macOS adds `._image.tiff`, which fits an image's pattern."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _fits(name, pattern):
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*/{pattern}")


def _glob(folder, pattern):
    is_glob = re.search(r"[*?[]", pattern) and not pattern.startswith("/")
    return (path for path in folder.glob(pattern) if path.is_file()) if is_glob else ()


def _as_list(archives):
    return [archives] if isinstance(archives, str) else list(archives)
