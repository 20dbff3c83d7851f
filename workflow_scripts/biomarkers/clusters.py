"""Clusters of cells at many resolutions, from one graph of neighbours (Methods, D13)."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import igraph
import leidenalg
import numpy as np
from pynndescent import NNDescent
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

EXACT = 50_000  # cells up to which all pairs are compared; beyond, neighbours are approximate


@dataclass
class Clusters:
    """Clusters that are small enough to be a signature, and what is asked of them.

    resolution, cluster, size [C]; shares [C, P]: of each patient's cells; overlap [C, C]: Jaccard
    index of their cells; patients [P] and responds [P] bool.
    """

    resolution: np.ndarray
    cluster: np.ndarray
    size: np.ndarray
    shares: np.ndarray
    overlap: np.ndarray
    patients: np.ndarray
    responds: np.ndarray

    def save(self, path):
        """Write all arrays as npz."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path):
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(**file)


def neighbour_graph(tokens, neighbours, seed):
    """Return the graph in which two cells are joined if one is among the other's nearest.

    `tokens` [cells, width]; Euclidean distance, edges without weight.
    """
    neighbours = min(neighbours, len(tokens) - 1)
    if len(tokens) <= EXACT:
        search = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(tokens)
        nearest = search.kneighbors(return_distance=False)
    else:
        search = NNDescent(tokens, n_neighbors=neighbours + 1, random_state=seed)
        nearest = _without_itself(search.neighbor_graph[0])
    first, second = np.repeat(np.arange(len(tokens)), nearest.shape[1]), nearest.ravel()
    # One integer per pair: much faster to sort than rows of two.
    pairs = np.unique(np.minimum(first, second) * len(tokens) + np.maximum(first, second))
    edges = np.stack(np.divmod(pairs, len(tokens)), axis=1)
    return igraph.Graph(len(tokens), edges=edges)


def _without_itself(nearest):
    """Return the table of nearest cells [n, k + 1] without the cell itself, else the last, [n, k].

    A cell may come after another at distance 0, or be missing.
    """
    own = nearest == np.arange(len(nearest))[:, None]
    own[~own.any(axis=1), -1] = True
    return nearest[~own].reshape(len(nearest), -1)


def leiden(graph, resolution, iterations, seed):
    """Return the cluster of each node [n] int32; 0 is the largest. Modularity with a resolution."""
    partition = leidenalg.find_partition(
        graph,
        leidenalg.RBConfigurationVertexPartition,
        resolution_parameter=resolution,
        n_iterations=iterations,
        seed=seed,
    )
    return np.array(partition.membership, np.int32)


def leiden_all(graph, resolutions, iterations, seed, processes=1):
    """Return the clusters at every resolution, [resolutions, n]; processes share the graph."""
    jobs = [(float(resolution), iterations, seed) for resolution in resolutions]
    if processes == 1:
        return np.array([leiden(graph, *job) for job in jobs])
    fork = get_context("fork")  # children see the parent's graph
    with ProcessPoolExecutor(processes, fork, _share, (graph,)) as pool:
        return np.array(list(pool.map(_leiden_shared, jobs)))


_shared = {}


def _share(graph):
    _shared["graph"] = graph


def _leiden_shared(job):
    return leiden(_shared["graph"], *job)


def small_clusters(labels, resolutions, largest, owners, patients, responds):
    """Return the Clusters of fewer than `largest` cells, and their members [cells, C] (sparse).

    `labels` [resolutions, cells]; `owners` [cells]: the place of each cell's patient in `patients`.
    """
    found, columns = [], []
    for resolution, assigned in zip(resolutions, labels, strict=True):
        sizes = np.bincount(assigned)
        for cluster in np.flatnonzero((sizes > 0) & (sizes < largest)):
            found.append((resolution, cluster, sizes[cluster]))
            columns.append(np.flatnonzero(assigned == cluster))
    resolution, cluster, size = np.array(found or np.empty((0, 3))).T
    rows = np.concatenate(columns) if columns else np.empty(0, int)
    places = np.repeat(np.arange(len(found)), size.astype(int))
    shape = labels.shape[1], len(found)
    members = sparse.csc_array((np.ones(len(rows)), (rows, places)), shape)
    cells = np.bincount(owners, minlength=len(patients))
    ones = np.ones(len(owners))
    of_patient = sparse.csr_array(
        (ones, (owners, np.arange(len(owners)))), (len(patients), len(owners))
    )
    common = (members.T @ members).toarray()
    return Clusters(
        resolution,
        cluster.astype(int),
        size.astype(int),
        (of_patient @ members).toarray().T / cells,
        common / np.maximum(size[:, None] + size - common, 1),
        np.asarray(patients, str),
        np.asarray(responds, bool),
    ), members
