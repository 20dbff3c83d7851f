"""Files as an archive offers them: TIFF stacks, tables, zips, and answers of two archives' APIs.

The bytes depend on the content alone: no clock, no user, no path.
"""

import csv
import hashlib
import io
import json
import zipfile
from pathlib import Path

import tifffile

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def tiff_bytes(image):
    """Return `image` [C, H, W] or [H, W] as an uncompressed TIFF, one page per channel."""
    buffer = io.BytesIO()
    pages = image if image.ndim == 3 else image[None]
    with tifffile.TiffWriter(buffer) as writer:
        for page in pages:
            writer.write(page, photometric="minisblack", metadata=None, software=False)
    return buffer.getvalue()


def csv_bytes(columns, rows, header=True):
    """Return a table as the CSV that R's write.csv(row.names = FALSE, quote = FALSE) gives.

    None becomes NA, a bool TRUE or FALSE, a float six significant digits.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
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
    """Write `members` [(name, bytes)] into a zip with fixed times and attributes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, content, compresslevel=4)


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
