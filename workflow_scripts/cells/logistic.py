"""Multinomial logistic regression by full-batch L-BFGS over tokens that stay on disk (D8).

The objective is scikit-learn's: summed loss, L2 penalty on the weights, free intercept, no scaling.
Cell tokens are strongly correlated, so that plain L-BFGS needs thousands of passes over them. Here
it works in coordinates in which each class's block of the Hessian, estimated on a sample of the
rows, is the identity: that changes the path and not the optimum. Single precision finds the way,
double precision the end; sums over rows are in double precision throughout.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize

COMPUTED = 1024  # rows computed at a time: both matrix products find them in the cache
SAMPLE = 5  # sampled rows per column
# Precision and largest gradient of each stage; every stage takes the coordinates of its start.
STAGES = ((np.float32, 1e-3), (np.float32, 1e-5), (np.float64, 0.0))


@dataclass
class Probe:
    """Classes [K], weights [K, D] and intercepts [K]; whether and after how many steps it ended."""

    classes: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    converged: bool
    iterations: int

    def predict(self, rows):
        """Return the class of each of `rows`, an iterable of blocks [n, D]."""
        best = [(block @ self.coef.T + self.intercept).argmax(axis=1) for block in rows]
        return self.classes[np.concatenate(best)] if best else self.classes[:0]


def fit_logistic(rows, labels, regularisation, max_iterations, tolerance=1e-7):
    """Fit `labels` [n] to the n tokens of a `Rows` and return a Probe.

    `tolerance`: the largest entry that the gradient of the mean loss may have at the end.
    """
    classes, codes = np.unique(np.asarray(labels), return_inverse=True)
    # scikit-learn penalises the one weight vector of two classes, the difference of ours.
    penalty = regularisation * (2 if len(classes) == 2 else 1)
    weights = np.zeros((len(classes), rows.width + 1))
    weights[:, -1] = np.log(np.bincount(codes) / len(codes))
    steps, gradient = 0, np.inf
    for dtype, end in STAGES:
        if steps < max_iterations:
            weights, gradient, taken = _descend(
                rows, codes, weights, penalty, dtype, max(end, tolerance), max_iterations - steps
            )
            steps += taken
    intercept = weights[:, -1] - weights[:, -1].mean()  # softmax does not see a common shift
    return Probe(classes, weights[:, :-1], intercept, bool(gradient <= tolerance), steps)


def _descend(rows, codes, weights, penalty, dtype, tolerance, max_iterations):
    """Run L-BFGS from `weights` [K, D + 1]; return weights, largest gradient of the mean, steps."""
    factors = _factors(rows, weights, penalty)
    seen = {"gradient": np.inf, "steps": 0}

    def original(flat):
        parts = zip(factors, flat.reshape(weights.shape), strict=True)
        return np.stack([solve_triangular(f, v, trans="T", lower=True) for f, v in parts])

    def objective(flat):
        w = original(flat)
        loss, gradient = _loss(rows, codes, w, dtype)
        loss += 0.5 * penalty * (w[:, :-1] ** 2).sum()
        gradient[:, :-1] += penalty * w[:, :-1]
        seen["gradient"] = np.abs(gradient).max() / len(rows)
        parts = zip(factors, gradient, strict=True)
        there = np.stack([solve_triangular(f, g, lower=True) for f, g in parts])
        return loss / len(rows), there.ravel() / len(rows)

    def stop(_):
        seen["steps"] += 1
        if seen["gradient"] <= tolerance:
            raise StopIteration

    start = np.stack([f.T @ w for f, w in zip(factors, weights, strict=True)]).ravel()
    # Steps alone are limited, and the gradient alone decides; a step tries a few points.
    limits = {"maxiter": max_iterations, "maxfun": 100 * max_iterations, "maxcor": 20}
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        callback=stop,
        options=limits | {"ftol": 0.0, "gtol": 0.0},
    )
    objective(found.x)  # the last point that was tried need not be the one returned
    return original(found.x), seen["gradient"], seen["steps"]


def _loss(rows, codes, weights, dtype):
    """Return the summed cross-entropy and its gradient [K, D + 1], both in float64."""
    total, gradient, start = 0.0, np.zeros(weights.shape), 0
    for block in rows:
        for first in range(0, len(block), COMPUTED):
            x = block[first : first + COMPUTED].astype(dtype, copy=False)
            own = np.arange(len(x)), codes[start : start + len(x)]
            start += len(x)
            scores = _scores(x, weights)
            chosen = scores[own]
            np.exp(scores, out=scores)
            sums = scores.sum(axis=1, keepdims=True)
            total += np.log(sums).sum(dtype=np.float64) - chosen.sum(dtype=np.float64)
            scores /= sums
            scores[own] -= 1
            gradient[:, :-1] += scores.T @ x
            gradient[:, -1] += scores.sum(axis=0, dtype=np.float64)
    return float(total), gradient


def _scores(x, weights):
    """Return scores [n, K], the largest of each row 0, in the precision of `x`."""
    weights = weights.astype(x.dtype)
    scores = x @ weights[:, :-1].T + weights[:, -1]
    scores -= scores.max(axis=1, keepdims=True)
    return scores


def _factors(rows, weights, penalty):
    """Return the lower Cholesky factor of each class's block of the Hessian at `weights`."""
    size = rows.width + 1
    step = max(1, len(rows) // (SAMPLE * size))
    blocks, start, used = np.zeros((len(weights), size, size)), 0, 0
    for block in rows:
        x = block[-start % step :: step].astype(np.float64)
        start += len(block)
        used += len(x)
        p = np.exp(_scores(x, weights))
        p /= p.sum(axis=1, keepdims=True)
        x = np.column_stack([x, np.ones(len(x))])
        for hessian, curvature in zip(blocks, (p * (1 - p)).T, strict=True):
            hessian += (x.T * curvature) @ x
    blocks *= len(rows) / used
    diagonal = np.arange(size)
    # The intercept has no penalty: a trace of one keeps the factor defined.
    blocks[:, diagonal, diagonal] += penalty * np.r_[np.ones(size - 1), 1e-3]
    return [cholesky(block, lower=True) for block in blocks]
