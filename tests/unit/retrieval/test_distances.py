"""Distances between sets of tokens and of pixels, against POT."""

import numpy as np
import ot
import pytest

from workflow_scripts.retrieval.distances import (
    BLOCK,
    directions,
    pixel_sketch,
    sliced_wasserstein_matrix,
    wasserstein_matrix,
)


@pytest.mark.parametrize(("n", "k", "width"), [(2, 1, 1), (5, 16, 8), (BLOCK + 3, 4, 3)])
def test_wasserstein_is_pot_s(n, k, width):
    tokens = 50 + np.random.default_rng(n).normal(size=(n, k, width)).astype(np.float32)
    ours = wasserstein_matrix(tokens)
    uniform = np.full(k, 1 / k)
    for i in range(n):
        for j in range(n):
            costs = ot.dist(tokens[i].astype(float), tokens[j].astype(float))
            theirs = np.sqrt(max(ot.emd2(uniform, uniform, costs), 0)) if i != j else 0
            assert abs(ours[i, j] - theirs) < 1e-6


def test_the_order_of_tokens_does_not_matter():
    tokens = np.random.default_rng(0).normal(size=(1, 16, 5))
    pair = np.concatenate([tokens, tokens[:, ::-1]])
    assert wasserstein_matrix(pair).max() < 1e-6


def test_no_tissue_gives_no_distance():
    assert wasserstein_matrix(np.empty((0, 16, 0), np.float32)).shape == (0, 0)


def test_sliced_wasserstein_is_pot_s_up_to_the_sketch():
    rng = np.random.default_rng(0)
    images = [rng.gamma(shape, size=(4, 3000)).astype(np.float32) for shape in (1, 1.2, 3)]
    vectors = directions(64, 4, seed=0)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)

    def ours(quantiles):
        sketches = np.stack([pixel_sketch(image, vectors, quantiles) for image in images])
        return sliced_wasserstein_matrix(sketches)

    theirs = np.array(
        [
            [ot.sliced_wasserstein_distance(a.T, b.T, projections=vectors.T) for b in images]
            for a in images
        ]
    )
    np.testing.assert_allclose(ours(3000), theirs, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours(512), theirs, rtol=0.02, atol=1e-6)
