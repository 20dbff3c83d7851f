"""Weights from the net: the file has its name only when it is what the settings say."""

import json
import os
import time
from pathlib import Path

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log
from workflow_scripts.common.provenance import check_sum
from workflow_scripts.common.staging import staged
from workflow_scripts.common.transfer import fetch

CHECKPOINT = (b"PK", b"\x80\x02")  # torch's zip files, and its files before 2020


def retrieve_checkpoint(url, path, expected, section, sleep=time.sleep):
    """Download `url` to `path`, going on where a cut transfer stopped; InputError for another file.

    `expected`: its SHA-256 or the beginning of it, None where it is not known. `section`: the
    settings with `weights` and `sha256`. What came is written to retrieved.json beside the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    fetch(url, part, sleep=sleep)
    try:
        if path.suffix != ".safetensors":
            _check_beginning(url, part, section)
        found = check_sum(part, expected, f"{section}.sha256")
    except InputError:
        part.unlink()
        raise
    os.replace(part, path)
    file = {"name": path.name, "url": url, "size": path.stat().st_size, "sha256": found}
    file["checked_against"] = {"sha256": "settings"} if expected else {}
    with staged(path.with_name("retrieved.json")) as [record]:
        record.write_text(json.dumps({"files": [file]}, indent=1) + "\n")
    log.info("%s: %d bytes, sha256 %s", path, file["size"], found)


def _check_beginning(url, part, section):
    with open(part, "rb") as file:
        head = file.read(40)
    if not head.startswith(CHECKPOINT):
        raise InputError(
            f"{url}: the file begins with {head!r}; expected a checkpoint of torch; "
            f"correct `{section}.weights`"
        )
