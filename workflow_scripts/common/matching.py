"""Tissues as sets of niche tokens, and the closest of them ("Information retrieval")."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from workflow_scripts.common.crops import grid_crops

GRID = 4  # crops on a side


def central_grid(height, width, crop, grid=GRID):
    """Return the origins [grid^2, 2] of the central crops, or None where the tissue is smaller."""
    side = grid * crop
    if min(height, width) < side:
        return None
    return grid_crops(side, side, crop) + [(height - side) // 2, (width - side) // 2]


def embed_niches(embedder, tissue, origins, accessions=None):
    """Return the niche tokens [k, D] of one tissue, None from a model that has none.

    Seen through `accessions` alone, in their order; through all channels unless given.
    """
    if accessions is None:
        positions, _ = embedder.usable(tissue.accessions)
        accessions = [tissue.accessions[i] for i in positions]
    else:  # where two channels measure a protein, the first one stands for it
        positions = [tissue.accessions.index(accession) for accession in accessions]
    return embedder.embed(tissue.image(positions), accessions, origins, None).niche


def wasserstein(first_kD, second_kD):
    """Return the exact 2-Wasserstein distance of two sets of k tokens of equal weight.

    The best plan of equally many is a permutation (Birkhoff), so it is an assignment problem.
    """
    costs = cdist(first_kD, second_kD, "sqeuclidean")
    return float(np.sqrt(costs[linear_sum_assignment(costs)].mean()))


def closest(distances, allowed, top):
    """Return the `top` closest allowed tissues of each query [n, top], -1 where there are fewer."""
    masked = np.where(allowed, distances, np.inf)
    order = np.argsort(masked, axis=1, kind="stable")[:, :top]
    found = np.where(np.isfinite(np.take_along_axis(masked, order, axis=1)), order, -1)
    return np.pad(found, ((0, 0), (0, top - found.shape[1])), constant_values=-1)
