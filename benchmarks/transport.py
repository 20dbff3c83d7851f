"""Entropic distances between two sets of cells: blockwise against POT's full matrices.

    python -m benchmarks.transport [--dry] [--busy] [--cells 20000]

Tokens lie near a plane of 16 dimensions, as those of a model do. Errors are measured on 2,000 x
2,000, against POT's exact distance; on `--cells` a side the gap to the dual bound, below which no
plan's cost lies, takes its place. Memory is that of the process at its highest above what it holds
with its libraries. It uses all cores that it may.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import ot
import torch

from benchmarks.common import append, cpu
from workflow_scripts.biomarkers.transport import entropic_transport, mean_squared_distance

WIDTH, PLANE, SMALL, LARGE = 512, 16, 2000, 20_000
EPSILON, TOLERANCE, ROUNDS = 1e-3, 0.01, 100  # those of config.yaml


def tokens(n, seed):
    """Return two seeded sets of cells in 12 states, whose shares differ, float32 [n, WIDTH]."""
    rng = np.random.default_rng(seed)
    states = 2 * rng.standard_normal((12, PLANE))
    plane = rng.standard_normal((PLANE, WIDTH)) / PLANE**0.5
    sets = []
    for concentration in (2.0, 1.0):
        state = rng.choice(12, n, p=rng.dirichlet(np.full(12, concentration)))
        cells = (states[state] + rng.standard_normal((n, PLANE))) @ plane
        cells += 0.1 * rng.standard_normal((n, WIDTH))
        sets.append(torch.as_tensor(cells, dtype=torch.float32))
    return sets


def measured(function, *arguments):
    """Return what a call returns, its seconds and the core-seconds of this process."""
    start, used = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return result, time.perf_counter() - start, time.process_time() - used


def peak_mb():
    """Return the largest memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def with_matrix(a, b, rounds):
    """Run `rounds` of POT's Sinkhorn in the log domain, on the full matrix of costs."""
    costs = ot.dist(a.double().numpy(), b.double().numpy())
    epsilon = EPSILON * costs.mean()
    ot.sinkhorn([], [], costs, epsilon, "sinkhorn_log", numItermax=rounds, stopThr=0, warn=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="append nothing to the table")
    parser.add_argument("--busy", action="store_true", help="note that other work ran beside it")
    parser.add_argument("--cells", type=int, default=LARGE)
    options = parser.parse_args()
    n, rows = options.cells, []
    a, b = tokens(n, 0)
    held = peak_mb()
    large, seconds, used = measured(entropic_transport, a, b, EPSILON, TOLERANCE, ROUNDS)
    case = f"{n:,} x {n:,} cells, width {WIDTH}, {large.rounds} rounds"
    full = 8 * n * n / 1e6
    # The times asked for are those of the full size on two cores.
    targets = ("value <= 600", "value <= 1200") if n == LARGE else ("", "")
    rows += [
        {"case": case, "metric": "time", "unit": "s", "value": seconds, "target": targets[0]},
        {"case": case, "metric": "core-seconds", "unit": "s", "value": used, "target": targets[1]},
        {"case": f"{case}; baseline one matrix of costs", "metric": "memory", "unit": "MB"}
        | {"value": max(peak_mb() - held, 1), "baseline": full, "target": "<= 1"},
        {"case": case, "metric": "cost above the dual bound", "unit": "%"}
        | {"value": 100 * (large.cost / large.bound - 1), "target": "value <= 1"},
        {"case": case, "metric": "peak memory of the process", "unit": "MB"}
        | {"value": peak_mb(), "target": "value <= 2500"},
    ]
    a, b = tokens(SMALL, 1)
    small, _, used = measured(entropic_transport, a, b, EPSILON, TOLERANCE, ROUNDS)
    _, _, theirs = measured(with_matrix, a, b, 10)
    exact = ot.emd2([], [], ot.dist(a.double().numpy(), b.double().numpy()), numItermax=10**7)
    case = f"{SMALL:,} x {SMALL:,} cells, width {WIDTH}"
    rows += [
        {"case": case, "metric": "error of the cost against the exact one", "unit": "%"}
        | {"value": 100 * (small.cost / exact - 1), "target": "value <= 1"},
        {"case": f"{case}; baseline POT, full matrix", "metric": "core-seconds a round"}
        | {"unit": "s", "value": used / small.rounds, "baseline": theirs / 10, "target": "<= 1"},
    ]
    assert mean_squared_distance(a, b) > small.cost > exact * 0.9
    with tempfile.TemporaryDirectory() as place:
        where = {"path": Path(place) / "dry.csv"} if options.dry else {}
        hardware = cpu() + (", busy: only ratios count" if options.busy else "")
        append("transport", rows, ["torch", "numpy", "POT"], hardware, **where)


if __name__ == "__main__":
    main()
