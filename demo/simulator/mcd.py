"""Raw files of the instrument: .mcd with several acquisitions, .txt with the shots of one.

In a .mcd the pixels come first: float32, one row per laser shot: x, y, z, then the channels in the
order of mass. The description is XML in UTF-16 at the end of the file. A .txt has the same rows.
"""

import io
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

PREAMBLE = 166  # bytes before the first block
SCHEMA = "http://www.fluidigm.com/IMC/MCDSchema_V2_0.xsd"


@dataclass
class Acquisition:
    """One region: its number, `image` [C, H, W], and whether its pixels were written at all."""

    number: int
    image: np.ndarray
    readable: bool = True


def mcd_bytes(acquisitions, channels):
    """Return the file of `acquisitions`; `channels` [(metal such as In115, label)] are theirs."""
    file, root = io.BytesIO(), ElementTree.Element("MCDSchema", xmlns=SCHEMA)
    file.write(bytes(PREAMBLE))
    names = [("X", "X"), ("Y", "Y"), ("Z", "Z")]
    names += [(_spelt(metal), label) for metal, label in channels]
    count = 0
    for order, acquisition in enumerate(acquisitions):
        _, height, width = acquisition.image.shape
        start = file.tell()
        if acquisition.readable:
            file.write(_shots(acquisition.image))
        facts = {
            "ID": acquisition.number,
            "Description": f"ROI_{acquisition.number:03d}",
            "OrderNumber": order,
            "SignalType": "Dual",
            "DataStartOffset": start,
            "DataEndOffset": file.tell(),
            "SegmentDataFormat": "Float",
            "ValueBytes": 4,
            "MaxY": height,
            "MaxX": width,
        }
        _add(root, "Acquisition", facts)
    for acquisition in acquisitions:
        for order, (name, label) in enumerate(names):
            facts = {
                "ID": count,
                "ChannelName": name,
                "OrderNumber": order,
                "AcquisitionID": acquisition.number,
                "ChannelLabel": label,
            }
            _add(root, "AcquisitionChannel", facts)
            count += 1
    file.write(ElementTree.tostring(root, "unicode").encode("utf-16-le"))
    return file.getvalue()


def text_bytes(image, channels):
    """Return the .txt of one acquisition: a row per shot, a column per channel.

    image [C, H, W]: whole counts; `channels` [(metal such as In115, label)] are theirs.
    """
    rows, columns = np.indices(image.shape[1:])
    order = np.arange(columns.size)
    place = np.stack([order, order, order, columns.ravel(), rows.ravel(), order], axis=1)
    place = (place * [384, 384, 0, 1, 1, 1] + [1708, 2091, 384, 0, 0, 0]).tolist()
    spelt = np.array([f"{count}.000" for count in range(int(image.max()) + 1)], object)
    counts = spelt[image.astype(int).reshape(len(image), -1).T].tolist()
    names = ["Start_push", "End_push", "Pushes_duration", "X", "Y", "Z"]
    names += [f"{label}({metal}Di)" for metal, label in channels]
    lines = ["\t".join(names)]
    lines += ["\t".join([*map(str, at), *shot]) for at, shot in zip(place, counts, strict=True)]
    return ("\r\n".join(lines) + "\r\n").encode()


def _shots(image):
    """Return `image` [C, H, W] as rows of x, y, z and counts; x runs fastest."""
    rows, columns = np.indices(image.shape[1:])
    parts = [columns.ravel(), rows.ravel(), np.arange(columns.size), *image.reshape(len(image), -1)]
    return np.stack(parts, axis=1).astype("<f4").tobytes()


def _spelt(metal):
    symbol = metal.rstrip("0123456789")
    return f"{symbol}({metal[len(symbol) :]})"


def _add(root, tag, facts):
    element = ElementTree.SubElement(root, tag)
    for name, value in facts.items():
        ElementTree.SubElement(element, name).text = str(value)
