"""The embedded study run twice, in two folders: the same files, byte for byte.

    python -m tests.workflow.test_two_runs FIRST SECOND

compares the results of two runs that are there already, for instance of two machines.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.nightly
# docs/reproducibility.md says why of each.
EXEMPT = ("logs", "benchmarks", "report", "figures/fig1e")
# How long a training took, where a simulated archive lies, and what code was checked out.
TIMES_AND_PLACES = {
    "seconds",
    "url",
    "self",
    "download_url",
    "commit",
    "dirty",
    "uncommitted_changes",
}
RECORDS = ("metrics.json", "retrieved.json", "record.json")


def without(value, keys):
    """Return JSON without these keys, at any depth."""
    if isinstance(value, dict):
        return {key: without(inner, keys) for key, inner in value.items() if key not in keys}
    if isinstance(value, list):
        return [without(inner, keys) for inner in value]
    return value


def content(path):
    """Return what two runs must have in common of a file."""
    if path.name in RECORDS:
        return without(json.loads(path.read_text()), TIMES_AND_PLACES)
    if path.name == "manifest.json":  # it has the checksums of those
        manifest = without(json.loads(path.read_text()), TIMES_AND_PLACES)
        kept = {k: v for k, v in manifest["inputs"].items() if not k.endswith(RECORDS)}
        return manifest | {"inputs": kept}
    if path.name == "claims.csv":
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return table[table["target"] != "fig1e"].to_csv()
    return path.read_bytes()


def differences(first, second):
    """Return (number of files compared, those that differ or that one of two results lacks)."""
    files = [
        {path.relative_to(root) for path in Path(root).rglob("*") if path.is_file()}
        for root in (first, second)
    ]
    names = {
        name
        for name in files[0] | files[1]
        if not any(name.is_relative_to(folder) for folder in EXEMPT)
    }
    other = files[0] ^ files[1]
    return len(names), sorted(
        str(name)
        for name in names
        if name in other or content(Path(first) / name) != content(Path(second) / name)
    )


def test_two_runs_leave_the_same_files(checkout, snakemake):
    folders = [checkout(f"run_{number}") for number in range(2)]
    for folder in folders:
        run = snakemake(folder, "--profile", "demo", "all", timeout=3600)
        assert run.returncode == 0, run.stderr[-4000:]
    compared, differing = differences(*(folder / "results/demo" for folder in folders))
    print(f"{compared} files compared")
    assert compared > 1000 and not differing


if __name__ == "__main__":
    compared, differing = differences(*sys.argv[1:])
    print(*differing, f"{compared - len(differing)} of {compared} files are equal", sep="\n")
    sys.exit(bool(differing))
