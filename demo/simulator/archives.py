"""Files as archives offer them: TIFFs, tables, zip, tar and 7z, and answers of two APIs.

The bytes depend on the content alone: no clock, no user, no path.
"""

import csv
import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import tifffile

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
EPOCH_SECONDS = 315532800  # ... since 1970
EPOCH_TICKS = 119600064000000000  # ... of 100 ns since 1601, as a 7z counts
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(96)
OME = (
    '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/'
    '2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{type}" '
    'SizeX="{width}" SizeY="{height}" SizeC="1" SizeZ="1" SizeT="1"><Channel ID="Channel:0:0" '
    'Name="{name}" SamplesPerPixel="1"/><TiffData/></Pixels></Image></OME>'
)


def tiff_bytes(image):
    """Return `image` [C, H, W] or [H, W] as an uncompressed TIFF, one page per channel."""
    buffer = io.BytesIO()
    pages = image if image.ndim == 3 else image[None]
    with tifffile.TiffWriter(buffer) as writer:
        for page in pages:
            writer.write(page, photometric="minisblack", metadata=None, software=False)
    return buffer.getvalue()


def ome_tiff_bytes(plane, name):
    """Return one channel [H, W] as an OME-TIFF that knows its `name`."""
    height, width = plane.shape
    described = OME.format(type=plane.dtype.name, width=width, height=height, name=name)
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        plane,
        photometric="minisblack",
        description=described,
        metadata=None,
        software=False,
    )
    return buffer.getvalue()


def csv_bytes(columns, rows, header=True, separator=","):
    """Return a table as the CSV that R's write.csv(row.names = FALSE, quote = FALSE) gives.

    None becomes NA, a bool TRUE or FALSE, a float six significant digits.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, lineterminator="\n")
    if header:
        writer.writerow(columns)
    writer.writerows([_text(value) for value in row] for row in rows)
    return buffer.getvalue().encode()


def _text(value):
    if value is None:
        return "NA"
    if isinstance(value, bool):
        return str(value).upper()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def write_zip(path, members):
    """Write `members` [(name, bytes)] into a zip (a path or a file) with fixed times and modes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, content, compresslevel=4)


def zip_bytes(members):
    """Return the zip of `members` [(name, bytes)], to lie in another one."""
    buffer = io.BytesIO()
    write_zip(buffer, members)
    return buffer.getvalue()


def write_tar_gz(path, members, litter=False):
    """Write `members` [(name, bytes)] into a tar.gz with fixed times and owners.

    With `litter` each has a hidden companion, as tar adds on macOS.
    """
    with (
        open(path, "wb") as file,
        gzip.GzipFile("", "wb", compresslevel=4, fileobj=file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name, content in members:
            if litter:
                folder, _, file_name = name.rpartition("/")
                _add_to_tar(archive, str(PurePosixPath(folder, f"._{file_name}")), APPLE_DOUBLE)
            _add_to_tar(archive, name, content)


def _add_to_tar(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(content), EPOCH_SECONDS
    archive.addfile(info, io.BytesIO(content))


def write_seven_zip(path, members):
    """Write `members` [(name, bytes)] into a 7z archive with fixed times."""
    import py7zr  # needed for one layout only
    from py7zr.helpers import ArchiveTimestamp

    filters = [{"id": py7zr.FILTER_LZMA2, "preset": 1}]
    with py7zr.SevenZipFile(path, "w", filters=filters) as archive:
        for name, content in members:
            archive.writestr(content, name)
        for entry in archive.header.files_info.files:
            times = [key for key in entry if key.endswith("time")]
            entry.update(dict.fromkeys(times, ArchiveTimestamp(EPOCH_TICKS)))


def mendeley_listing(paths, folder):
    """Return Mendeley Data's listing of files that will lie in `folder`: a JSON array."""
    return [
        {
            "filename": path.name,
            "size": path.stat().st_size,
            "content_details": {
                "download_url": _url(folder, path),
                "sha256_hash": _digest("sha256", path),
                "size": path.stat().st_size,
            },
        }
        for path in paths
    ]


def zenodo_record(paths, folder, title):
    """Return Zenodo's answer for a record of files that will lie in `folder`: a JSON object."""
    return {
        "id": 0,
        "metadata": {"title": title},
        "files": [
            {
                "key": path.name,
                "size": path.stat().st_size,
                "checksum": f"md5:{_digest('md5', path)}",
                "links": {"self": _url(folder, path)},
            }
            for path in paths
        ],
    }


def write_json(path, content):
    """Write `content` to `path`, at once or not at all."""
    part = Path(f"{path}.part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)


def _url(folder, path):
    return (Path(folder).resolve() / path.name).as_uri()


def _digest(name, path):
    return hashlib.new(name, path.read_bytes()).hexdigest()
