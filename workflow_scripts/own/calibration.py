"""How wrong a virtual stain may be, from markers that were measured and hidden.

An error is the root mean squared error over the marker's own standard deviation: 0 is perfect, 1 is
a guess of the mean. It is expected to grow with the distance of a marker, in ESM-2 space, from the
nearest one that the model was trained on (0 for one of those).
"""

import math

import numpy as np
from sklearn.isotonic import IsotonicRegression

from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.correlation import ROUNDING, pearson

USELESS = 1.0  # the error of a guess of the mean


def relative_error(sums):
    """Return the error from the six sums [..., 6] of `moments`; NaN where the truth is constant."""
    n, x, _, xx, yy, xy = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = xx / n - (x / n) ** 2
        squared = np.maximum(xx + yy - 2 * xy, 0) / n
        return np.where(variance > ROUNDING * xx / n, np.sqrt(squared / variance), np.nan)


def scored(sums, repeats, seed):
    """Return r and error of one marker with the 95 % interval of the error over patients.

    `sums` [patients, 6]. The interval is (None, None) for fewer than three patients.
    """
    draws = relative_error(resamples(len(sums), repeats, seed) @ sums)
    low, high = interval(draws)
    total = sums.sum(axis=0)
    return {"r": pearson(total), "error": relative_error(total), "low": low, "high": high}


def nearest_trained(embeddings, trained):
    """Return per marker the place of the nearest `trained` one and its cosine distance [n].

    `embeddings` [n, width]; `trained` [n] bool, of which one at least is True. A trained marker is
    its own nearest at distance 0.
    """
    unit = np.asarray(embeddings, np.float64)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    places = np.flatnonzero(trained)
    distances = np.maximum(1 - unit @ unit[places].T, 0)
    nearest = distances.argmin(axis=1)
    found = np.where(trained, 0.0, distances[np.arange(len(unit)), nearest])
    return np.where(trained, np.arange(len(unit)), places[nearest]), found


class Calibration:
    """Errors of hidden measured markers against their distance, and bounds for other markers.

    The expected error is an isotonic fit. The bound is that of the jackknife+ (Barber et al.,
    2021), one-sided: each marker in turn is left out, and how far its error exceeds what the others
    let expect widens the bound.
    """

    def __init__(self, distances, errors, coverage):
        """`distances`, `errors` [n] of the measured markers; `coverage` in (0, 1)."""
        known = np.isfinite(errors)
        self.distances = np.asarray(distances, float)[known]
        self.errors, self.coverage = np.asarray(errors, float)[known], coverage
        self.n = len(self.errors)
        # The smallest n of which the bound's rank is not above n.
        self.needed = max(2, math.ceil(coverage / (1 - coverage) - 1e-9))
        self._without = (
            None  # (fit without marker i, how far i exceeds it), when they are asked for
        )

    def expected(self, distance):
        """Return the expected error at a distance."""
        return float(_fit(self.distances, self.errors)(distance))

    def bound(self, distance):
        """Return the error that `coverage` of such markers stay below; None for too few."""
        if self.n < self.needed:
            return None
        if self._without is None:
            self._without = [self._leave_out(i) for i in range(self.n)]
        values = [float(fit(distance) + excess) for fit, excess in self._without]
        rank = math.ceil(self.coverage * (self.n + 1) - 1e-9)
        # One outlier can lift the mean above it; a bound below what is expected would mislead.
        return max(sorted(values)[rank - 1], self.expected(distance))

    def _leave_out(self, i):
        others = np.arange(self.n) != i
        fit = _fit(self.distances[others], self.errors[others])
        return fit, self.errors[i] - fit(self.distances[i])

    def judge(self, distance):
        """Return {expected, bound, trusted, reason} for an unmeasured marker at a distance."""
        bound = self.bound(distance)
        answer = {"expected": self.expected(distance) if self.n else None, "bound": bound}
        reason = self._doubt(distance, bound)
        return answer | {"trusted": not reason, "reason": reason}

    def _doubt(self, distance, bound):
        if bound is None:
            return (
                f"{self.n} measured markers are too few to know the error; {self.needed} are needed"
            )
        if distance > self.distances.max() + 1e-9:
            return (
                f"further from the trained markers ({distance:.3f}) than any measured one "
                f"(at most {self.distances.max():.3f}), where nothing says how wrong it is"
            )
        if bound >= USELESS:
            return f"its error may reach {bound:.2f}, and a guess of the mean has {USELESS:.0f}"
        return ""


def _fit(distances, errors):
    model = IsotonicRegression(out_of_bounds="clip").fit(distances, errors)
    return lambda distance: model.predict(np.atleast_1d(distance))[0]


def verdict(stains):
    """Return in words how many of the predicted markers, a table of 1 at least, can be used."""
    fair, total = int(stains["trusted"].astype(bool).sum()), len(stains)
    if not fair:
        none = "it should not be trusted" if total == 1 else "none of them should be trusted"
        return f"{none}, see below why"
    if fair == total:
        return "usable with care, as far as the measured markers tell"
    return f"{fair} usable with care, {total - fair} not to be trusted, see below why"
