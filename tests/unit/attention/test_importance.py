"""Importance in closed form, beside scikit-learn's scaling, and where one marker is planted."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import minmax_scale

from virtues_core import VirTues, VirTuesConfig, pack
from virtues_core.inspection import encode_with_marker_attention
from workflow_scripts.attention.importance import (
    SCORINGS,
    advantage,
    importance,
    over_cohort,
    received_attention,
)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def model(markers=6, **settings):
    torch.manual_seed(0)
    sizes = dict(width=32, feedforward=32, heads=2, encoder="hvhv", decoder="f")
    config = VirTuesConfig(**(sizes | settings))
    return VirTues(config, torch.randn(markers, config.marker_width)).eval()


def test_it_is_the_sum_of_scaled_columns_or_rows():
    received = np.random.default_rng(0).random((3, 7, 7))
    columns = sum(minmax_scale(head, axis=0).sum(axis=0) for head in received)
    rows = sum(minmax_scale(head, axis=1).sum(axis=0) for head in received)
    np.testing.assert_allclose(importance(received, "as_printed"), columns)
    np.testing.assert_allclose(importance(received, "over_targets"), rows)


def test_as_printed_does_not_see_how_much_a_marker_receives():
    """The first marker gets nine times the attention of the second, by the same pattern (D17)."""
    received = np.array([[[9, 1], [18, 2]]], float)
    np.testing.assert_allclose(importance(received, "as_printed"), [1, 1])
    np.testing.assert_allclose(importance(received, "over_targets"), [2, 0])


@pytest.mark.parametrize("scoring", SCORINGS)
def test_uniform_attention_tells_no_markers_apart(scoring):
    even = np.full((2, 5, 5), 1 / 6)
    assert (importance(even, scoring) == 0).all()
    noise = np.random.default_rng(0).normal(0, 1e-9, even.shape)  # as sums of float32 have
    assert (importance(even + noise, scoring) == 0).all()
    assert (importance(np.zeros((2, 5, 5)), scoring) == 0).all()
    assert importance(np.full((1, 1, 1), 0.4), scoring).tolist() == [0]


def test_a_constant_row_leaves_the_others_as_they_are():
    received = np.random.default_rng(1).random((1, 4, 4))
    received[0, 2] = 0.25
    without = importance(np.delete(received, 2, axis=1)[:, :, :], "over_targets")
    np.testing.assert_allclose(importance(received, "over_targets"), without)


def test_attention_is_summed_over_all_positions_of_all_crops():
    ours, ids = model(), np.array([4, 0, 3])
    image = np.random.default_rng(0).normal(size=(3, 40, 48)).astype(np.float32)
    origins = [(0, 0), (8, 16), (16, 24)]
    found = received_attention(ours, image, ids, origins, side=16, batch=2)
    crops = [torch.from_numpy(image[:, r : r + 16, c : c + 16]) for r, c in origins]
    with torch.inference_mode():
        _, weights = encode_with_marker_attention(ours, pack(crops, [torch.tensor(ids)] * 3))
    np.testing.assert_allclose(found, sum(w.double().sum(0) for w in weights), rtol=1e-5)
    assert (received_attention(ours, image, ids, [], side=16, batch=2) == 0).all()


@pytest.mark.parametrize("planted", [1, 4])
def test_a_marker_that_is_looked_at_is_the_most_important(planted):
    """Every key says how much its token is like those of one marker, and every query asks that."""
    ours, ids = model(), np.arange(6)
    image = np.random.default_rng(0).normal(size=(6, 32, 32)).astype(np.float32)
    block, seen = ours.encoder.blocks[1], []
    handle = block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        batch = pack([torch.from_numpy(image)], [torch.from_numpy(ids)])
        ours.encode(batch)
        handle.remove()
        tokens = block.norm1(seen[0])[batch.positions :].view(6, batch.positions, -1).mean(dim=1)
        towards = tokens[planted] - tokens[torch.arange(6) != planted].mean(dim=0)
        width, qkv = ours.config.width, block.attention.qkv
        qkv.weight[: 2 * width] = 0
        qkv.bias[: 2 * width] = 0
        qkv.bias[:width] = 1
        qkv.weight[width : 2 * width] = towards / towards.norm()
    received = received_attention(ours, image, ids, [(0, 0), (16, 16)], side=16, batch=2)
    scores = importance(received, "over_targets")
    assert scores.argmax() == planted and scores[planted] == pytest.approx(2 * 6)
    assert np.isfinite(importance(received, "as_printed")).all()
    assert advantage(scores, np.arange(6) == planted) == 1.0


def test_a_cohort_has_the_markers_of_all_its_tissues():
    first = np.arange(9.0).reshape(1, 3, 3)
    markers, total = over_cohort([(["a", "b", "c"], first), (["c", "a"], np.ones((1, 2, 2)))])
    assert markers == ["a", "c"]
    np.testing.assert_array_equal(total[0], [[1, 3], [7, 9]])


def test_the_advantage_of_named_markers():
    named = np.array([True, False, True, False])
    assert advantage(np.array([4, 1, 3, 2]), named) == 1
    assert advantage(np.array([1, 1, 1, 1]), named) == 0.5
    assert advantage(np.array([1, 2, 4, 3]), named) == 0.5
    assert np.isnan(advantage(np.ones(4), ~named | named))
