"""How long the report of a finished demo takes, and a figure that is drawn again with all after it.

    python -m benchmarks.report [--figure fig2d] [--dry] [--busy]

Run it in a checkout after `make demo`. What is timed is the whole command, Snakemake's own start
included; the folder is afterwards what it was before, but for the report's date.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import append, cpu
from workflow_scripts.common.targets import load_targets, numbered

ROOT = Path(__file__).resolve().parents[1]
# Jobs of the two commands, `all` among them; with one more, another target was not finished.
REPORT, FIGURE = 2, 4


def snakemake(*arguments):
    """Run the demo's command with more arguments; returns its wall time and what it said."""
    command = [sys.executable, "-m", "snakemake", "--profile", "demo", *arguments, "all"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # as the Makefile does
    start = time.perf_counter()
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    seconds, said = time.perf_counter() - start, run.stdout + run.stderr
    if run.returncode:
        sys.exit(said[-4000:])
    return seconds, said


def rows(figure, run=snakemake):
    """Return the rows of the table; says in one sentence where there is no finished demo."""
    for rule, jobs in (("report", REPORT), (figure, FIGURE)):
        planned = re.search(r"^total +(\d+)", run("--dry-run", "--forcerun", rule)[1], re.M)
        if planned is None or int(planned[1]) != jobs:
            sys.exit("results/demo: expected a finished demo of this code; run `make demo` first")
    targets = len(numbered(load_targets()))
    report = {"case": f"report of all {targets} targets, finished demo", "target": "value <= 20"}
    drawn = {"case": f"{figure} again, with statements and report", "target": "value <= 30"}
    return [
        case | {"metric": "wall time", "unit": "s", "value": run("--forcerun", rule)[0]}
        for case, rule in ((report, "report"), (drawn, figure))
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", default="fig2d")
    parser.add_argument("--dry", action="store_true", help="append nothing to the table")
    parser.add_argument("--busy", action="store_true", help="note that other work ran beside it")
    options = parser.parse_args()
    where = {"path": Path(os.devnull)} if options.dry else {}
    hardware = cpu() + (", busy: only ratios count" if options.busy else "")
    append("report", rows(options.figure), ["snakemake", "matplotlib"], hardware, **where)


if __name__ == "__main__":
    main()
