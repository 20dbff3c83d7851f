"""What each figure target was made of, written beside its numbers: inputs, code, weights."""

import hashlib
import json
import os
from pathlib import Path

from workflow_scripts.common.provenance import provenance, sha256


def write_manifests(job):
    """Write `manifest.json` beside every numbers.json that a finished job has written.

    `job`: the `snakemake` object of its script. There are no times in it: the same inputs, code
    and versions give the same bytes.
    """
    outputs = [Path(path) for path in job.output if Path(path).name == "numbers.json"]
    if not outputs:
        return
    origin = provenance()
    made_of = {
        "rule": job.rule,
        "code": job.params.get("code"),
        "commit": origin["commit"],
        "uncommitted_changes": origin["dirty"],
        "python": origin["python"],
        "packages": origin["packages"],
        # Relative to the checkout, so that the place of it does not matter.
        "inputs": {os.path.relpath(path): checksum(Path(path)) for path in sorted(set(job.input))},
    }
    for numbers in outputs:
        record = json.loads(numbers.read_text(encoding="utf-8"))
        entries = record["numbers"].values()
        files = sorted(path for path in numbers.parent.iterdir() if path.name != "manifest.json")
        manifest = {
            "target": record["target"],
            "simulated": record["simulated"],
            **made_of,
            "seeds": sorted({seed for entry in entries for seed in entry["seeds"]}),
            "weights": sorted({entry["weights"] for entry in entries if entry["weights"]}),
            "outputs": {path.name: sha256(path) for path in files if path.is_file()},
        }
        part = numbers.with_name(".manifest.json.part")
        part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        os.replace(part, numbers.with_name("manifest.json"))


def checksum(path):
    """Return the SHA-256 of a file; of a folder, that of the names and sizes of its files."""
    if path.is_file():
        return f"sha256 {sha256(path)}"
    files = sorted(file for file in path.rglob("*") if file.is_file())
    # Snakemake's own note beside the files of a folder is none of them.
    files = [file for file in files if file.name != ".snakemake_timestamp"]
    facts = [(file.relative_to(path).as_posix(), file.stat().st_size) for file in files]
    return f"{len(files)} files, names and sizes {hashlib.sha256(repr(facts).encode()).hexdigest()}"
