"""What scheduling and imports take of the embedded study's processor time.

    python -m benchmarks.overhead [--dry] [--busy] [--target all]

The study runs in a clone of the last commit. Scheduling is all that Snakemake's own process uses,
its imports included. Python itself (-X importtime) tells how long the processes that it starts
take to import; compute is what remains of their time.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.commands import clone
from benchmarks.common import append, cpu

# Set when Snakemake itself is imported, so that only the processes of its jobs tell.
RUN = """
import os, resource, sys
from snakemake.cli import main
os.environ["PYTHONPROFILEIMPORTTIME"] = "1"
try:
    main(sys.argv[1:])
finally:
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        print("processor time", used.ru_utime + used.ru_stime, flush=True)
"""


def shares(output, errors):
    """Return seconds of processor time: of scheduling, of imports, and in all.

    `output` ends with those of Snakemake and of its children; `errors` holds a line per import.
    """
    scheduling, children = map(float, re.findall(r"^processor time (\S+)$", output, re.M))
    # Of the times of an import, the first leaves out what it imports in turn.
    imports = sum(map(int, re.findall(r"import time:\s+(\d+) \|", errors))) / 1e6
    return scheduling, imports, scheduling + children


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="all")
    parser.add_argument("--dry", action="store_true", help="append nothing to the table")
    parser.add_argument("--busy", action="store_true", help="note that other work ran beside it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "checkout"
        clone(folder)
        run = subprocess.run(
            [sys.executable, "-c", RUN, "--profile", "demo", options.target],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},  # as the Makefile does
            capture_output=True,
            text=True,
        )
        if run.returncode:
            sys.exit(re.sub(r"^import time:.*\n", "", run.stderr, flags=re.M)[-4000:])
        scheduling, imports, total = shares(run.stdout, run.stderr)
    case = {"case": f"snakemake --profile demo {options.target}", "unit": "s"}
    rows = [
        {"metric": "processor time", "value": total},
        {"metric": "of it scheduling", "value": scheduling},
        {"metric": "of it imports of the jobs", "value": imports},
        {"metric": "scheduling and imports, of all processor time"}
        | {"value": scheduling + imports, "baseline": total, "target": "<= 0.35"},
    ]
    where = {"path": Path(os.devnull)} if options.dry else {}
    hardware = cpu() + (", busy: only ratios count" if options.busy else "")
    append(
        "overhead",
        [case | row for row in rows],
        ["snakemake", "torch", "pandas"],
        hardware,
        **where,
    )


if __name__ == "__main__":
    main()
