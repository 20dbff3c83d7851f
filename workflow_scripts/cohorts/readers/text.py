"""The instrument's text files (.txt): one region each, a row per shot, a column per metal."""

import re
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from workflow_scripts.cohorts.readers.archives import DAMAGE, damaged
from workflow_scripts.common.errors import InputError


@dataclass(frozen=True)
class TextAcquisition:
    """The region of a .txt file: its metals and the columns that hold them."""

    metals: tuple
    columns: tuple
    id: str | None = None  # the file is the region


def read_acquisition(file):
    """Return the `TextAcquisition` of a .txt `File`; InputError if it is no such file.

    A column is called `<label>(<metal>Di)`, such as SMA_174(Yb174Di).
    """
    names = list(_read(file, nrows=0).columns)
    found = {}
    for name in names:
        match = re.search(r"\(([A-Z][a-z]?)(\d{2,3})Di\)$", name)
        if match and match.group(1) + match.group(2) in found:
            raise InputError(
                f"{file}: two columns hold the metal {match.group(1)}{match.group(2)}; name the "
                "file in layout.exclude."
            )
        if match:
            found[match.group(1) + match.group(2)] = name
    if not found or not {"X", "Y"} <= set(names):
        raise InputError(
            f"{file}: expected columns X, Y and one per metal such as SMA(Yb174Di), separated by "
            f"tabs; it has {', '.join(names[:5])}; correct the pattern of layout.images."
        )
    return TextAcquisition(tuple(found), tuple(found.values()))


def read_pixels(file, acquisition, metals):
    """Return the image [metals, H, W] float32 of a .txt `File`, with its channels in that order.

    InputError for a file without one of the metals, or one that was not measured to its end.
    """
    absent = [metal for metal in metals if metal not in acquisition.metals]
    if absent:
        raise InputError(
            f"{file} has no channel {', '.join(absent)}; it has {', '.join(acquisition.metals)}; "
            "correct the panel of the cohort file, or name the file in layout.exclude."
        )
    columns = [acquisition.columns[acquisition.metals.index(metal)] for metal in metals]
    shots = _read(file, usecols=["X", "Y", *columns], dtype=np.float32)
    if shots.isna().any(axis=None) or shots.empty:
        raise damaged(file, "a row is not complete")
    x, y = (shots[axis].to_numpy().astype(int) for axis in "XY")
    height, width = y.max() + 1, x.max() + 1
    pixel = y * width + x
    if not np.array_equal(np.sort(pixel), np.arange(height * width)):
        raise InputError(
            f"{file}: the positions of its {len(shots)} shots do not fill {height} x {width} "
            "pixels: it was not measured to its end; name it in layout.exclude."
        )
    image = np.empty((len(metals), height * width), np.float32)
    image[:, pixel] = shots[columns].to_numpy().T
    return image.reshape(len(metals), height, width)


def _read(file, **options):
    read = partial(pd.read_csv, sep="\t", encoding="latin-1", low_memory=False)
    try:
        with file.open() as stream:
            return read(stream, **options)
    except pd.errors.EmptyDataError:
        raise damaged(file, "it is empty") from None
    except (*DAMAGE, pd.errors.ParserError, ValueError) as error:
        raise damaged(file, error) from None
