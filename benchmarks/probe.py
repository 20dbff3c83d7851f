"""The linear probe on 200,000 tokens of width 512, beside scikit-learn's lbfgs.

    python -m benchmarks.probe

Tokens have the decaying spectrum of a network's; classes are as unequal as those of cells. Both
solvers go on until the gradient of the mean loss is as small, scikit-learn's for `--steps` steps at
most; their objectives are compared, and scikit-learn gets the better of both precisions. Then the
same fit from disk, where the tokens are many.
"""

import argparse
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import zarr
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from benchmarks.common import append
from workflow_scripts.cells.logistic import fit_logistic
from workflow_scripts.common.tokens import ROWS_PER_CHUNK, Rows

STEPS = 20000
PASS = 200e6  # bytes: a pass over fewer takes as many, which says nothing


def planted(n, width, classes, seed=0):
    """Return tokens [n, width] float32 and labels [n], class k with 1 / k of class 1."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, classes + 1)
    labels = rng.choice(classes, size=n, p=shares / shares.sum())
    mix = rng.normal(size=(width, width)) * np.arange(1, width + 1)[:, None] ** -0.8
    centres = 0.4 * rng.normal(size=(classes, width))
    offset = rng.normal(size=width)
    tokens = np.empty((n, width), np.float32)
    for start in range(0, n, 10000):
        part = slice(start, start + 10000)
        noise = 1.5 * rng.normal(size=(len(labels[part]), width))
        tokens[part] = (centres[labels[part]] + noise) @ mix / np.sqrt(width) + offset
    return tokens, labels


def objective(tokens, labels, coef, intercept):
    """Return the summed loss and penalty, in float64."""
    total = 0.5 * (coef**2).sum()
    for start in range(0, len(tokens), 10000):
        part = slice(start, start + 10000)
        scores = tokens[part].astype(np.float64) @ coef.T + intercept
        total += (logsumexp(scores, axis=1) - scores[np.arange(len(scores)), labels[part]]).sum()
    return total


def timed(function):
    """Return the result of `function` and the seconds that it took."""
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def reference(tokens, labels, tolerance, steps):
    """Return scikit-learn's better objective, shorter time and most steps over both precisions."""
    tried = []
    for dtype in (np.float32, np.float64):
        x = tokens.astype(dtype)
        probe = LogisticRegression(C=1.0, max_iter=steps, tol=tolerance)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            _, seconds = timed(lambda probe=probe, x=x: probe.fit(x, labels))
        found = objective(tokens, labels, probe.coef_, probe.intercept_)
        print(f"scikit-learn, {x.dtype}: {probe.n_iter_[0]} steps, {seconds:.0f} s, {found:.6f}")
        tried.append((found, seconds, int(probe.n_iter_[0])))
    values, times, taken = zip(*tried, strict=True)
    return min(values), min(times), max(taken)


def from_disk(tokens, labels, tolerance):
    """Return the probe, seconds and peak of further memory (bytes) with tokens in a zarr store."""
    with tempfile.TemporaryDirectory() as place:
        chunks = (ROWS_PER_CHUNK["cells"], tokens.shape[1])
        array = zarr.create_array(f"{place}/cells.zarr", data=tokens, chunks=chunks)
        rows = Rows(array, np.arange(len(labels)))
        tracemalloc.start()
        probe, seconds = timed(lambda: fit_logistic(rows, labels, 1.0, STEPS, tolerance))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return probe, seconds, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--tolerance", type=float, default=1e-6, help="of the mean gradient")
    parser.add_argument("--steps", type=int, default=1000, help="of scikit-learn at most")
    parser.add_argument("--dry", action="store_true", help="append nothing to the table")
    options = parser.parse_args()
    tokens, labels = planted(options.cells, options.width, options.classes)
    rows = Rows(tokens, np.arange(options.cells), memory=tokens.nbytes)
    fit = (rows, labels, 1.0, STEPS, options.tolerance)
    probe, seconds = timed(lambda: fit_logistic(*fit))
    print(f"ours: {probe.iterations} steps, {seconds:.0f} s, converged: {probe.converged}")
    best, baseline, steps = reference(tokens, labels, options.tolerance, options.steps)
    ours = objective(tokens, labels, probe.coef, probe.intercept)
    case = f"{options.cells:,} x {options.width}, {options.classes} classes"
    beside = f"{case}; baseline scikit-learn, {steps} steps"
    written = [
        {"case": beside, "metric": "time to the optimum", "unit": "s", "value": seconds}
        | {"baseline": baseline, "target": "<= 1"},
        {"case": beside, "metric": "objective", "unit": "nats", "value": ours, "baseline": best}
        | {"target": "<= 1.000001"},
    ]
    if tokens.nbytes > PASS:
        streamed, disk, peak = from_disk(tokens, labels, options.tolerance)
        written += [
            {"metric": "time from disk, memory traced", "unit": "s", "value": disk},
            {"metric": "memory beyond the store", "unit": "MB", "value": peak / 1e6}
            | {"baseline": tokens.nbytes / 1e6, "target": "<= 1"},
            {"metric": "largest difference of weights, disk to memory", "unit": ""}
            | {"value": float(np.abs(streamed.coef - probe.coef).max()), "target": "value <= 1e-4"},
        ]
    rows = [{"case": case} | row for row in written]
    packages = ["numpy", "scipy", "scikit-learn", "zarr"]
    with tempfile.TemporaryDirectory() as place:
        where = {"path": Path(place) / "dry.csv"} if options.dry else {}
        append("probe", rows, packages, **where)


if __name__ == "__main__":
    main()
