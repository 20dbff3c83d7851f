"""How things are measured, and the table that only grows: benchmarks/results.csv."""

import csv
import os
import platform
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).with_name("results.csv")
COLUMNS = [
    "date",
    "benchmark",
    "case",
    "metric",
    "unit",
    "value",
    "baseline",
    "ratio",
    "target",
    "hardware",
    "versions",
]


def append(benchmark, rows, packages, hardware=None, path=RESULTS):
    """Append `rows` to the table, show them and return them as written.

    A row has case, metric, unit, value and, where there are any, baseline (measured in the same
    run) and target (text, such as "<= 0.6", on ratio = value / baseline). `packages`: names of the
    installed packages whose versions matter.
    """
    versions = [f"python {platform.python_version()}"]
    for package in packages:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} absent")
    common = {
        "date": date.today().isoformat(),
        "benchmark": benchmark,
        "hardware": hardware or cpu(),
        "versions": "; ".join(versions),
    }
    written = []
    for row in rows:
        row = common | row
        if row.get("baseline"):
            row["ratio"] = row["value"] / row["baseline"]
        numbers = {k: f"{v:.4g}" for k, v in row.items() if isinstance(v, int | float)}
        written.append({column: (row | numbers).get(column, "") for column in COLUMNS})
    new = not path.exists()
    with open(path, "a", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            table.writeheader()
        table.writerows(written)
    for row in written:
        print(*(f"{row[key]}" for key in COLUMNS[1:9]), sep=" | ")
    return written


def cpu():
    """Return the processor's name and the number of cores that this process may use."""
    names = [platform.processor() or platform.machine()]
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, cores used: {len(os.sched_getaffinity(0))}"


def best_of(functions, repeats, prepare=lambda: ()):
    """Return the shortest time in seconds of each of `functions`, taken in turn.

    In turn, so that a busy moment of the machine hits all of them; `prepare` makes the arguments
    of every call and is not timed.
    """
    best = [float("inf")] * len(functions)
    for _ in range(repeats):
        for place, function in enumerate(functions):
            arguments = prepare()
            start = time.perf_counter()
            function(*arguments)
            best[place] = min(best[place], time.perf_counter() - start)
    return best


def one_core():
    """Keep this process, and the threads it will start, on a single core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
