"""Download the ESM-2 checkpoint, going on where a cut transfer stopped."""

import os
import time
from pathlib import Path

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.provenance import sha256
from workflow_scripts.common.transfer import fetch

CHECKPOINT = (b"PK", b"\x80\x02")  # torch's zip files, and its files before 2020


def retrieve(url, path, sleep=time.sleep):
    """Download `url` to `path`, which appears only when it is a whole checkpoint of torch."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    fetch(url, part, sleep=sleep)
    with open(part, "rb") as file:
        head = file.read(40)
    if not head.startswith(CHECKPOINT):
        part.unlink()
        raise InputError(
            f"{url}: the file begins with {head!r}; expected a checkpoint of torch; "
            "correct `markers.esm2.weights`"
        )
    os.replace(part, path)
    log.info("%s: %d bytes, sha256 %s", path, path.stat().st_size, sha256(path))


def main(snakemake):
    """Download the checkpoint of `markers.esm2.weights`."""
    url, path = snakemake.params.url, snakemake.output.weights
    if snakemake.config["offline"]:
        raise InputError(
            f"offline: {path} is missing; expected the file that {url} holds; download it "
            "elsewhere and put it there, or name its path in `markers.esm2.weights`"
        )
    retrieve(url, path)


if __name__ == "__main__":
    run(main, globals())
