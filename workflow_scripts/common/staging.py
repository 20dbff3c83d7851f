"""Outputs that appear under their names only when all of them are complete."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(*paths):
    """Yield a hidden sibling for each path and rename all of them when the block succeeds.

    A path may become a file or a folder; what was there is replaced. When the block fails, the
    siblings are removed and nothing is left under the names.
    """
    paths = [Path(path) for path in paths]
    parts = [path.with_name(f".{path.name}.part") for path in paths]
    for path, part in zip(paths, parts, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(part)
    try:
        yield parts
        for path, part in zip(paths, parts, strict=True):
            if path.is_dir():
                shutil.rmtree(path)
            os.replace(part, path)
    finally:
        for part in parts:
            _remove(part)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
