"""Distances between tissues, as sets of tokens and as sets of pixels ("Information retrieval").

Shapes: n tissues, k tokens of a tissue, D their width; P pixels, C channels, T directions,
Q quantiles.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

BLOCK = 32  # tissues on a side of a block of pairs, whose costs stay in the processor's cache


def wasserstein_matrix(tokens_nkD):
    """Return the exact 2-Wasserstein distance of every pair of token sets, float64 [n, n].

    All sets have k tokens of equal weight, so the best plan is a permutation (Birkhoff) and the
    distance is an assignment problem. Its costs come from matrix products in float64.
    """
    n, k, width = tokens_nkD.shape
    flat = tokens_nkD.reshape(n * k, width).astype(np.float64)
    flat -= flat.sum(axis=0) / max(n * k, 1)  # distances stay, rounding of the products shrinks
    # Every token is paid for once: its norm changes the sum, and no plan.
    norms = np.einsum("ij,ij->i", flat, flat).reshape(n, k).sum(axis=1)
    distances = np.zeros((n, n))
    for first in range(0, n, BLOCK):
        ours = slice(first * k, (first + BLOCK) * k)
        for second in range(first, n, BLOCK):
            theirs = slice(second * k, (second + BLOCK) * k)
            costs = flat[ours] @ (-2 * flat[theirs]).T
            costs = np.ascontiguousarray(costs.reshape(len(costs) // k, k, -1, k).swapaxes(1, 2))
            for i, row in enumerate(costs, first):
                row = row[max(i + 1 - second, 0) :]  # pairs on and below the diagonal are known
                if len(row):
                    plans = np.array([linear_sum_assignment(cost)[1] for cost in row])
                    paid = np.take_along_axis(row, plans[..., None], axis=2)
                    after = slice(max(i + 1, second), second + BLOCK)
                    distances[i, after] = paid.sum(axis=(1, 2)) + norms[i] + norms[after]
    distances = np.sqrt(np.maximum(distances, 0) / k)
    return distances + distances.T


def directions(count, channels, seed):
    """Return `count` unit vectors drawn uniformly from the sphere, float32 [T, C]."""
    vectors = np.random.default_rng(seed).normal(size=(count, channels))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def pixel_sketch(image_CP, directions_TC, quantiles):
    """Return evenly spaced quantiles of an image's pixels along each direction, float32 [T, Q].

    A Wasserstein distance on a line is a distance between quantile functions; `quantiles` of them
    stand for all pixels, so that a tissue is kept in T x Q numbers whatever its size.
    """
    pixels = image_CP.shape[1]
    levels = np.minimum(((np.arange(quantiles) + 0.5) * pixels / quantiles).astype(int), pixels - 1)
    sketch = np.empty((len(directions_TC), quantiles), np.float32)
    for row, direction in zip(sketch, directions_TC, strict=True):
        row[:] = np.sort(direction @ image_CP)[levels]
    return sketch


def sliced_wasserstein_matrix(sketches_nTQ):
    """Return the sliced 2-Wasserstein distance of every pair of sketches, float64 [n, n]."""
    flat = sketches_nTQ.reshape(len(sketches_nTQ), -1)
    squares = np.zeros((len(flat), len(flat)))
    for i, row in enumerate(flat):
        # Differences rather than products: those of near matches would drown in rounding.
        squares[i, i:] = np.mean(np.square(flat[i:] - row), axis=1, dtype=np.float64)
    return np.sqrt(squares + squares.T)
