"""The instrument's raw file (.mcd): an XML description at its end says where the pixels are."""

import os
import re
import tempfile
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shutil import copyfileobj
from xml.etree import ElementTree

import numpy as np

from workflow_scripts.cohorts.readers.archives import DAMAGE, damaged
from workflow_scripts.cohorts.readers.panel import metal_tag
from workflow_scripts.common.errors import InputError

TAIL = 1 << 20  # bytes from the end in which the description is looked for; doubled until it is
START, END = ("<MCDSchema".encode("utf-16-le"), "</MCDSchema>".encode("utf-16-le"))
_unpacking = threading.Lock()


@dataclass(frozen=True)
class Acquisition:
    """One region of a .mcd file; offsets in bytes, metals (X, Y, Z first) in stored order."""

    id: str
    height: int
    width: int
    start: int
    end: int
    value_bytes: int
    metals: tuple


def read_acquisitions(file):
    """Return the regions of a .mcd `File` (on disk or in a zip archive), in its own order."""
    root = _description(file)
    names = {}
    for channel in root.findall("AcquisitionChannel"):
        place = int(channel.findtext("OrderNumber"))
        metal = metal_tag(channel.findtext("ChannelName"))
        names.setdefault(channel.findtext("AcquisitionID"), {})[place] = metal
    found = []
    for item in root.findall("Acquisition"):
        keys = ("MaxY", "MaxX", "DataStartOffset", "DataEndOffset", "ValueBytes")
        channels = names.get(item.findtext("ID"), {})
        metals = tuple(channels[place] for place in sorted(channels))
        numbers = (int(item.findtext(key)) for key in keys)
        found.append(Acquisition(item.findtext("ID"), *numbers, metals))
    return found


def read_pixels(file, acquisition, metals):
    """Return the image [metals, H, W] float32 of one region, with its channels in that order.

    InputError for a region without one of the metals, or one that was not measured to its end.
    """
    where = f"{file}: acquisition {acquisition.id}"
    absent = [metal for metal in metals if metal not in acquisition.metals]
    if absent:
        raise InputError(
            f"{where} has no channel {', '.join(absent)}; it has {', '.join(acquisition.metals)}; "
            "correct the panel of the cohort file, or name the acquisition in layout.exclude."
        )
    height, width, channels = acquisition.height, acquisition.width, len(acquisition.metals)
    stored = acquisition.end - acquisition.start
    if acquisition.value_bytes != 4 or stored != 4 * height * width * channels or not stored:
        raise InputError(
            f"{where} holds {stored} bytes, expected {height} x {width} pixels of {channels} "
            "4-byte numbers: it was not measured to its end; name it in layout.exclude."
        )
    data = _bytes(file)
    if acquisition.end > len(data):
        raise damaged(file, f"it ends before acquisition {acquisition.id}")
    shots = data[acquisition.start : acquisition.end].view("<f4").reshape(-1, channels)
    place = {metal: index for index, metal in enumerate(acquisition.metals)}
    pixel = shots[:, place["Y"]].astype(int) * width + shots[:, place["X"]].astype(int)
    if not np.array_equal(np.sort(pixel), np.arange(height * width)):
        raise InputError(
            f"{where}: the positions of its shots do not fill {height} x {width} pixels; name it "
            "in layout.exclude."
        )
    image = np.empty((len(metals), height * width), np.float32)
    image[:, pixel] = shots[:, [place[metal] for metal in metals]].T
    return image.reshape(len(metals), height, width)


def _description(file):
    """Return the XML tree at the end of the file, its names without namespace."""
    data, size = _bytes(file), TAIL
    while START not in (tail := data[-size:].tobytes()):
        if size >= len(data):
            raise damaged(file, "it has no description of its acquisitions")
        size *= 2
    begin = tail.rfind(START)
    end = tail.find(END, begin)
    if end < 0:
        raise damaged(file, "the description of its acquisitions is cut")
    text = tail[begin : end + len(END)].decode("utf-16-le")
    try:
        return ElementTree.fromstring(re.sub(r'\sxmlns="[^"]*"', "", text))
    except ElementTree.ParseError as error:
        raise damaged(file, error) from None


def _bytes(file):
    """Return the file's bytes as a memory map [n] uint8."""
    if file.archive is None:
        if not file.path.stat().st_size:
            raise damaged(file, "it is empty")
        return np.memmap(file.path, np.uint8, "r")
    with _unpacking:
        return _unpacked(file)


@lru_cache(maxsize=2)
def _unpacked(file):
    """Return a member of an archive as a memory map of a nameless copy beside the archive.

    A compressed member cannot be entered midway, and one may hold a hundred regions. Two copies
    are kept, so that disk, as memory, does not grow with the number of archives.
    """
    folder = Path(file.place).parent
    try:
        with (
            file.open() as source,
            tempfile.TemporaryFile(dir=folder if os.access(folder, os.W_OK) else None) as copy,
        ):
            copyfileobj(source, copy, 1 << 20)
            copy.flush()
            return np.memmap(copy, np.uint8, "r")
    except DAMAGE as error:
        raise damaged(file, error) from None
