"""The files of a cohort: a folder on disk and the archives in it."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

from workflow_scripts.cohorts.readers.archives import File, is_litter, open_archive, open_inner
from workflow_scripts.common.errors import InputError


class Files:
    """Finds files in the data folder, in its archives and beside the cohort's YAML file.

    An archive is named by its path, by a glob such as `*.zip`, or as `outer.zip!inner.zip`.
    """

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
                if not is_litter(path.relative_to(self.folder).as_posix())
            ),
            key=lambda file: file.name,
        )

    def has(self, archives):
        """Tell whether all of the named archives are there; without a name, the folder is."""
        return all(self._paths(name.partition("!")[0]) for name in _as_list(archives))

    def find(self, pattern, archives=(), alike=False):
        """Return the one file whose path fits `pattern` (a path or glob), or None.

        It is looked up in the archives, then in the data folder, then beside the YAML file. With
        `alike` several files may fit, if their contents are equal.
        """
        for name in _as_list(archives):
            found = [file for file in self._members(name) if _fits(file.name, pattern)]
            if len(found) > 1 and alike:
                _check_alike(found)
            elif len(found) > 1:
                raise InputError(
                    f"{self.folder / name}: {len(found)} members fit '{pattern}' "
                    f"({found[0].name}, {found[1].name}); write a longer path."
                )
            if found:
                return found[0]
        for folder in (self.folder, self.beside):
            path = folder / pattern
            paths = [path] if path.is_file() else sorted(_glob(folder, pattern))
            found = [File(p.relative_to(folder).as_posix(), str(folder), p) for p in paths]
            if len(paths) > 1 and alike:
                _check_alike(found)
            elif len(paths) > 1:
                raise InputError(
                    f"{folder}: {len(paths)} files fit '{pattern}' ({paths[0].name}, "
                    f"{paths[1].name}); write a longer path."
                )
            if found:
                return File(pattern if path.is_file() else paths[0].name, str(folder), paths[0])
        return None

    def _members(self, name):
        if name not in self._archives:
            outer, _, inner = name.partition("!")
            paths = self._paths(outer) or [self.folder / outer]
            opened = [file for path in paths for file in open_archive(path)]
            self._archives[name] = self._inside(opened, name, inner) if inner else opened
        return self._archives[name]

    def _inside(self, opened, name, inner):
        found = [file for file in opened if _fits(file.name, inner)]
        if len(found) != 1:
            names = ", ".join(file.name for file in (found or opened)[:3]) or "nothing"
            raise InputError(
                f"{self.folder / name}: {len(found)} members fit '{inner}', expected one archive; "
                f"the first {'of them' if found else 'members'}: {names}; correct its name."
            )
        return open_inner(found[0], self.folder)

    def _paths(self, name):
        path = self.folder / name
        return [path] if path.exists() else sorted(_glob(self.folder, name))


def _check_alike(files):
    first = files[0].read().read()
    for file in files[1:]:
        if file.read().read() != first:
            raise InputError(
                f"{file} differs from {files[0].name}, although both were expected to say the "
                "same; write a longer path that one file fits."
            )


def _fits(name, pattern):
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*/{pattern}")


def _glob(folder, pattern):
    is_glob = re.search(r"[*?[]", pattern) and not pattern.startswith("/")
    return (path for path in folder.glob(pattern) if path.is_file()) if is_glob else ()


def _as_list(archives):
    return [archives] if isinstance(archives, str) else list(archives)
