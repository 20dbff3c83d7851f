"""The graph of neighbours, clusters at several resolutions, and what each patient has of them."""

import igraph
import leidenalg
import numpy as np
import pytest

from workflow_scripts.biomarkers import clusters as c
from workflow_scripts.biomarkers.ranks import proportions


@pytest.fixture(scope="module")
def tokens():
    rng = np.random.default_rng(0)
    centres = 6 * rng.normal(size=(5, 4))
    return (centres[np.arange(300) % 5] + rng.normal(size=(300, 4))).astype(np.float32)


def test_two_cells_are_joined_if_one_is_among_the_others_nearest(tokens):
    graph = c.neighbour_graph(tokens, 6, seed=0)
    distances = np.linalg.norm(tokens[:, None] - tokens, axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argsort(axis=1)[:, :6]
    expected = {tuple(sorted((i, int(j)))) for i in range(300) for j in nearest[i]}
    assert set(graph.get_edgelist()) == expected


def test_approximate_neighbours_leave_out_the_cell_itself():
    nearest = np.array([[0, 1, 2], [2, 1, 0], [0, 1, 3]])
    assert c._without_itself(nearest).tolist() == [[1, 2], [2, 0], [0, 1]]


def test_resolutions_share_the_graph_in_any_number_of_processes(tokens):
    graph = c.neighbour_graph(tokens, 10, seed=0)
    alone = c.leiden_all(graph, [0.1, 1.0, 3.0], 2, seed=4)
    assert np.array_equal(c.leiden_all(graph, [0.1, 1.0, 3.0], 2, seed=4, processes=2), alone)
    counts = alone.max(axis=1) + 1
    assert counts[0] == 5 < counts[2]
    assert all(np.array_equal(row[:5], row[5:10]) for row in alone[:1])  # the planted centres
    partition = leidenalg.find_partition(
        igraph.Graph(300, edges=graph.get_edgelist()),
        leidenalg.RBConfigurationVertexPartition,
        resolution_parameter=3.0,
        n_iterations=2,
        seed=4,
    )
    assert alone[2].tolist() == partition.membership


def test_clusters_know_their_size_shares_and_overlap():
    rng = np.random.default_rng(1)
    labels = np.array([rng.integers(0, 4, 200), rng.integers(0, 6, 200)])
    patients, owners = np.array(["a", "b", "c"]), rng.integers(0, 3, 200)
    responds = np.array([True, False, True])
    largest = 45
    found, members = c.small_clusters(labels, [1.0, 2.0], largest, owners, patients, responds)
    sizes = [np.bincount(row) for row in labels]
    assert len(found.size) == sum((size < largest).sum() for size in sizes) > 4
    assert found.size.max() < largest
    for place, (resolution, cluster) in enumerate(
        zip(found.resolution, found.cluster, strict=True)
    ):
        own = labels[[1.0, 2.0].index(resolution)] == cluster
        assert np.array_equal(members[:, [place]].toarray().ravel() > 0, own)
        expected = proportions(patients[owners], own, patients)
        assert found.shares[place] == pytest.approx(expected, abs=1e-15)
        for other in range(len(found.size)):
            theirs = members[:, [other]].toarray().ravel() > 0
            jaccard = (own & theirs).sum() / (own | theirs).sum()
            assert found.overlap[place, other] == pytest.approx(jaccard)


def test_clusters_come_back_from_disk(tmp_path):
    labels = np.array([[0, 0, 1]])
    found, _ = c.small_clusters(labels, [1.0], 9, np.array([0, 0, 1]), ["a", "b"], [True, False])
    found.save(tmp_path / "clusters.npz")
    back = c.Clusters.load(tmp_path / "clusters.npz")
    assert all(np.array_equal(one, getattr(back, name)) for name, one in vars(found).items())
    assert back.responds.dtype == bool


def test_there_may_be_no_small_cluster():
    labels = np.zeros((1, 4), int)
    found, _ = c.small_clusters(labels, [1.0], 3, np.array([0, 0, 1, 1]), ["a", "b"], [True, False])
    assert found.shares.shape == (0, 2)
