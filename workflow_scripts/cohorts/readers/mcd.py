"""The instrument's raw file (.mcd): an XML description at its end says where the pixels are."""

import re
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from xml.etree import ElementTree

import numpy as np

from workflow_scripts.cohorts.readers.files import damaged
from workflow_scripts.cohorts.readers.panel import metal_tag
from workflow_scripts.common.errors import InputError

TAIL = 1 << 20  # bytes; the description is looked for in a tail that is doubled until it is there
START, END = (f"<{slash}MCDSchema".encode("utf-16-le") for slash in ("", "/"))


@dataclass(frozen=True)
class Acquisition:
    """One region of a .mcd file; offsets in bytes, metals in the order of its channels."""

    id: str
    description: str
    height: int
    width: int
    start: int
    end: int
    value_bytes: int
    metals: tuple


class Mcd:
    """A .mcd file on disk or in a zip archive (a `File`), read without holding it in memory.

    A member of an archive is unpacked into a nameless temporary file beside the archive while it is
    read: regions are spread over the whole file, and a compressed one cannot be entered midway.
    """

    def __init__(self, file):
        self.file, self._lock, self._unpacked = file, threading.Lock(), None

    def acquisitions(self):
        """Return the file's regions, in the order of its description."""
        root = _description(self._bytes(), self.file)
        channels = {}
        for channel in root.findall("AcquisitionChannel"):
            place = int(_text(channel, "OrderNumber", self.file))
            name = _text(channel, "ChannelName", self.file)
            channels.setdefault(_text(channel, "AcquisitionID", self.file), {})[place] = name
        found = []
        for item in root.findall("Acquisition"):
            facts = {name: _text(item, name, self.file) for name in _FACTS}
            names = channels.get(facts["ID"], {})
            metals = tuple(metal_tag(names[place]) for place in sorted(names))
            numbers = [int(facts[name]) for name in _FACTS[2:]]
            found.append(Acquisition(facts["ID"], facts["Description"], *numbers, metals))
        return found

    def read(self, acquisition, metals):
        """Return the image [metals, H, W] float32 of one region, its channels in that order."""
        label = f"{self.file}: acquisition {acquisition.id}"
        width = acquisition.value_bytes * len(acquisition.metals)
        size = acquisition.end - acquisition.start
        pixels = acquisition.height * acquisition.width
        if acquisition.value_bytes != 4 or size != pixels * width or not pixels:
            raise InputError(
                f"{label} holds {size} bytes, expected {pixels} pixels of {width}: the region was "
                "not measured to its end; name it in layout.exclude."
            )
        data = self._bytes()
        if acquisition.end > len(data):
            raise damaged(self.file, f"it ends before acquisition {acquisition.id} does")
        shots = data[acquisition.start : acquisition.end].view("<f4")
        shots = shots.reshape(pixels, len(acquisition.metals))
        place = {metal: index for index, metal in enumerate(acquisition.metals)}
        x, y = (shots[:, place[axis]].astype(int) for axis in "XY")
        if (x < 0).any() or (y < 0).any() or x.max() >= acquisition.width or len(
            np.unique(y * acquisition.width + x)
        ) != pixels or y.max() >= acquisition.height:
            raise InputError(f"{label}: its shots do not fill {acquisition.height} x ... pixels")
        image = np.empty((len(metals), acquisition.height, acquisition.width), np.float32)
        image[:, y, x] = shots[:, [place[metal] for metal in metals]].T
        return image
