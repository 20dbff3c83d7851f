"""Scores of reconstructed pixels: streamed sums against all pixels at once.

The baseline concatenates the pixels for SciPy and scikit-learn.

python -m benchmarks.metrics [--dry] [--crops 200]

Both read the same crops, drawn anew each time; drawing alone is taken off both times. `--dry`
appends nothing.
"""

import argparse
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from scipy.stats import pearsonr
from sklearn.metrics import f1_score

from benchmarks.common import append, one_core
from workflow_scripts.reconstruction.metrics import hidden_sums, pearson_r, positivity_f1

CHANNELS, SIDE, REPEATS = 40, 128, 3
THRESHOLDS = np.zeros(CHANNELS)


def crops(n):
    """Yield (truth, guess, hidden) of n seeded crops [C, S, S]."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        truth, noise = rng.standard_normal((2, CHANNELS, SIDE, SIDE), np.float32)
        yield truth, truth + noise, rng.random((CHANNELS, SIDE, SIDE), np.float32) < 0.8


def drawn(n):
    """Draw the crops and do nothing with them."""
    for _ in crops(n):
        pass


def streamed(n):
    """Return r and F1 [C] from sums."""
    total = sum(hidden_sums(*crop, THRESHOLDS) for crop in crops(n))
    return pearson_r(total), positivity_f1(total)


def concatenated(n):
    """Return r and F1 [C] from all hidden pixels at once."""
    kept = [[] for _ in range(CHANNELS)]
    for truth, guess, hidden in crops(n):
        for channel in range(CHANNELS):
            where = hidden[channel]
            kept[channel].append((truth[channel][where], guess[channel][where]))
    r, f1 = np.empty(CHANNELS), np.empty(CHANNELS)
    for channel, parts in enumerate(kept):
        truth, guess = (np.concatenate(pixels) for pixels in zip(*parts, strict=True))
        r[channel] = pearsonr(truth.astype(np.float64), guess.astype(np.float64)).statistic
        f1[channel] = f1_score(truth > THRESHOLDS[channel], guess > THRESHOLDS[channel])
    return r, f1


def seconds(function, n):
    """Return the shortest time of a few calls."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        function(n)
        best = min(best, time.perf_counter() - start)
    return best


def peak_mb(function, n):
    """Return the largest size of all arrays that lived at once, in MB."""
    tracemalloc.start()
    function(n)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="append nothing to the table")
    parser.add_argument("--crops", type=int, default=200)
    arguments = parser.parse_args()
    n = arguments.crops
    one_core()
    for ours, theirs in zip(streamed(min(n, 8)), concatenated(min(n, 8)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    drawing = seconds(drawn, n)
    times = [seconds(function, n) - drawing for function in (streamed, concatenated)]
    peaks = [peak_mb(function, n) for function in (streamed, concatenated)]
    case = f"{n} crops of {CHANNELS} x {SIDE} x {SIDE}, 80 % hidden, one core; baseline all pixels"
    rows = [
        {"case": case, "metric": "time of r and F1", "unit": "s", "target": "<= 0.2"}
        | {"value": times[0], "baseline": times[1]},
        {"case": case, "metric": "peak memory", "unit": "MB", "target": "<= 0.1"}
        | {"value": peaks[0], "baseline": peaks[1]},
    ]
    packages = ["numpy", "scipy", "scikit-learn"]
    if arguments.dry:
        with tempfile.TemporaryDirectory() as place:
            append("metrics", rows, packages, path=Path(place) / "dry.csv")
    else:
        append("metrics", rows, packages)


if __name__ == "__main__":
    main()
