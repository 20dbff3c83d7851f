"""Download ImageNet weights of ResNet-50, going on where a cut transfer stopped."""

import os
import time
from pathlib import Path

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.provenance import check_sum
from workflow_scripts.common.transfer import fetch

KEY = "rivals.resnet50.sha256"


def retrieve(url, path, expected, sleep=time.sleep):
    """Download `url` to `path`, which appears only when its SHA-256 begins with `expected`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    fetch(url, part, sleep=sleep)
    try:
        found = check_sum(part, expected, KEY)
    except InputError:
        part.unlink()
        raise
    os.replace(part, path)
    log.info("%s: %d bytes, sha256 %s", path, path.stat().st_size, found)


def main(snakemake):
    """Download the checkpoint of `rivals.resnet50.weights`."""
    params, path = snakemake.params, snakemake.output.weights
    if snakemake.config["offline"]:
        raise InputError(
            f"offline: {path} is missing; expected the file that {params.url} holds; download it "
            "elsewhere and put it there, or name its path in `rivals.resnet50.weights`"
        )
    retrieve(params.url, path, params.sha256)


if __name__ == "__main__":
    run(main, globals())
