"""How long the demo and the tests take from an empty folder, installation included.

    python -m benchmarks.commands

Clones the checkout's last commit, runs `make demo`, `make test` and `make test_study` there and
appends a row each.
"""

import subprocess
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.common import append

ROOT = Path(__file__).resolve().parents[1]
TARGETS = {
    "demo, fifteen cohorts, installation included": "value <= 1200",
    "test, installed before": "value <= 720",
    "test_study, installed before": "",
}


def clone(folder):
    """Clone the last commit into `folder`, with the reference data beside it if there is any."""
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    if (ROOT.parent / "shared").exists():
        (folder.parent / "shared").symlink_to(ROOT.parent / "shared")


def seconds(folder, target):
    """Return the wall time of `make <target>`."""
    start = time.monotonic()
    subprocess.run(["make", target], cwd=folder, check=True)
    return time.monotonic() - start


def largest_job(folder):
    """Return the largest resident set of a job of the demo, in MB."""
    tables = (folder / "results/demo/benchmarks").rglob("*.tsv")
    return max(pd.read_csv(t, sep="\t", na_values=["-", "NA"])["max_rss"].max() for t in tables)


def main():
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "checkout"
        clone(folder)
        rows = []
        for case, bound in TARGETS.items():
            rows.append({"case": f"make {case}, fresh clone", "metric": "wall time", "unit": "s"})
            rows[-1] |= {"value": seconds(folder, case.split(",")[0]), "target": bound}
        memory = {"case": "make demo, largest job", "metric": "resident set", "unit": "MB"}
        rows.append(memory | {"value": largest_job(folder), "target": "value <= 4000"})
        append("commands", rows, ["snakemake", "torch", "pandas"])


if __name__ == "__main__":
    main()
