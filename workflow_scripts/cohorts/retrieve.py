"""Bring a cohort's files here, whole and checked, whether from the net, a disk or by hand."""

import hashlib
import json
import os
import time
from functools import partial
from pathlib import Path

from workflow_scripts.cohorts.records import describe_files
from workflow_scripts.common.cohort import absent_reason, load_cohort, local_path
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.transfer import PIECE, fetch, get_text


def retrieve(cohort, folder, offline=False, sleep=time.sleep):
    """Bring all files of `cohort` into `folder`; returns the content of retrieved.json.

    A file that is there already, downloaded or placed by hand, is checked and kept. InputError if
    one cannot be had or is not what the cohort file or the archive's record says.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    reason = absent_reason(cohort, folder)
    if reason:
        raise InputError(f"{cohort.path}: {reason}.")
    files = []
    for file in describe_files(cohort, folder, partial(get_text, sleep=sleep), offline):
        path = folder / file["name"]
        if path.exists() and local_path(file.get("url") or ""):
            path.unlink()  # copied from this machine, where it may have changed since
        if path.exists():
            found = measure(path)
            _check(found, file, path, "remove it to retrieve it again")
            log.info("%s: is there, %d bytes", path, found["size"])
        else:
            found = _download(file, path, offline, sleep)
            log.info("%s: retrieved, %d bytes", path, found["size"])
        files.append({**file, **found})
    return {"cohort": cohort.id, "record": cohort.source.get("record"), "files": files}


def measure(path):
    """Return size, md5 and sha256 of a file, read once."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            md5.update(piece)
            sha256.update(piece)
        size = file.tell()
    return {"size": size, "md5": md5.hexdigest(), "sha256": sha256.hexdigest()}


def _download(file, path, offline, sleep):
    """Fetch one file to `path`: it has its name only once its size and checksum are right."""
    url = file["url"]
    if offline and not (url and local_path(url)):
        raise InputError(
            f"offline: {path} is not there; get {url or file['name']} elsewhere and put it there."
        )
    part = path.with_name(f"{path.name}.part")
    try:
        fetch(url, part, file["size"], sleep)
    except InputError as error:
        # Mendeley Data may answer the one address with an error message, and the other with the
        # file.
        if "got JSON" not in str(error) or not url.endswith("/file_downloaded"):
            raise
        fetch(url.removesuffix("/file_downloaded") + "/file_viewed", part, file["size"], sleep)
    found = measure(part)
    bad = path.with_name(f"{path.name}.bad")
    try:
        _check(found, file, path, f"what came is kept as {bad.name}; retrieve it again")
    except InputError:
        os.replace(part, bad)
        raise
    bad.unlink(missing_ok=True)
    os.replace(part, path)
    return found


def _check(found, expected, path, advice):
    for key, origin in expected["checked_against"].items():
        if found[key] != expected[key]:
            raise InputError(
                f"{path}: {key} is {found[key]}, expected {expected[key]} ({origin}); {advice}."
            )


def main(snakemake):
    """Retrieve one cohort and say what came in retrieved.json, beside its files."""
    output = Path(snakemake.output.retrieved)
    cohort = load_cohort(snakemake.input.cohort)
    answer = retrieve(cohort, output.parent, snakemake.config["offline"])
    part = output.with_name(f".{output.name}.part")
    part.write_text(json.dumps(answer, indent=1) + "\n")
    os.replace(part, output)


if __name__ == "__main__":
    run(main, globals())
