"""Read every retrieved file and every trained model again and compare their checksums."""

import json
import re
from pathlib import Path

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.provenance import sha256


def recorded_files(archives):
    """Return [(path, size, sha256)] that the files `*/retrieved.json` in `archives` list.

    A record lists `files`, or is that of one file, as where a single file of weights came.
    """
    files = []
    for path in sorted(Path(archives).glob("*/retrieved.json")):
        record = _read(path)
        try:
            for file in record.get("files", [record]):
                if not re.fullmatch("[0-9a-f]{64}", file["sha256"]):
                    raise ValueError
                files.append((path.parent / file["name"], file["size"], file["sha256"]))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(
                f"{path}: expected name, size and sha256 of each file that was retrieved; remove "
                "the record and run its rule again"
            ) from None
    return files


def recorded_weights(models):
    """Return [(path, None, sha256)] that the files `*/metrics.json` in `models` name."""
    files = []
    for record in sorted(Path(models).glob("*/metrics.json")):
        expected = _read(record).get("weights_sha256")
        if expected:
            files.append((record.with_name("model.safetensors"), None, expected))
    return files


def faults(files):
    """Return a sentence for every file that is absent or is not what its record says."""
    found = []
    for path, size, expected in files:
        if not path.is_file():
            found.append(f"{path}: its record lists this file, and it is not there")
        elif size is not None and path.stat().st_size != size:
            found.append(f"{path}: {path.stat().st_size} bytes, expected {size} of its record")
        elif (digest := sha256(path)) != expected:
            found.append(f"{path}: its SHA-256 is {digest}, expected {expected} of its record")
    return found


def _read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{path}: expected JSON; remove the file and run its rule again") from None


def main(snakemake):
    """Verify all of a study's files; the exit status tells whether they are whole."""
    params = snakemake.params
    files = recorded_files(params.archives) + recorded_weights(params.models)
    wrong = faults(files)
    for sentence in wrong:
        log.error("%s", sentence)
    if wrong:
        raise InputError(
            f"{len(wrong)} of {len(files)} files are not what their records say; remove them and, "
            "where there is one, the record beside them (retrieved.json or metrics.json), and run "
            "again"
        )
    total = sum(path.stat().st_size for path, _, _ in files)
    log.info("%d files, %.3g GB: all as their records say.", len(files), total / 1e9)
    if not files:
        log.info("Nothing was retrieved into %s yet.", params.archives)


if __name__ == "__main__":
    run(main, globals())
