"""The weights that are shown are those that the model attends with."""

import pytest
import torch

from virtues_core import pack
from virtues_core.attention import attend, attend_packed
from virtues_core.attention.reference import softmax_weights
from virtues_core.inspection import ChannelSummaries, encode_with_marker_attention
from virtues_core.rotary import rotary_grid


@pytest.fixture
def crops(ragged):
    images, channels, _ = ragged
    return images, channels


def test_weights_times_values_are_what_the_fast_backend_returns():
    q, k, v = torch.randn(3, 5, 7, 2, 8, generator=torch.Generator().manual_seed(0))
    out = torch.einsum("shqk,skhd->sqhd", softmax_weights(q, k), v)
    torch.testing.assert_close(out, attend(q, k, v, "sdpa"), atol=2e-6, rtol=0)


def test_weights_in_closed_form():
    k = torch.eye(4)[:, None]  # [keys, heads, head_width]
    weights = softmax_weights(torch.zeros(1, 1, 4), k)
    torch.testing.assert_close(weights, torch.full((1, 1, 4), 0.25))
    # A score of ln 3 beside zeros, after the scale of 1 / sqrt(4): 3 / 6, and 1 / 6 each.
    q = 2 * torch.tensor(3.0).log() * torch.eye(4)[:1, None]
    expected = torch.tensor([[[3.0, 1, 1, 1]]]) / 6
    torch.testing.assert_close(softmax_weights(q, k), expected)


def test_marker_attention_is_that_of_the_first_such_block(small_model, crops):
    """The block's mix, rebuilt from the weights and the values, is the fast backend's."""
    model, batch = small_model().eval(), pack(*crops)
    block, seen = model.encoder.blocks[1], []
    handle = block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        output, weights = encode_with_marker_attention(model, batch)
        handle.remove()
        torch.testing.assert_close(output.all_summary, model.encode(batch).all_summary)
        q, k, v = block.project(seen[0])
        fast = attend_packed(q, k, v, batch.marker_attention, "sdpa")
    first = batch.crops * batch.positions
    for crop, count in enumerate(batch.counts):
        assert weights[crop].shape == (batch.positions, 4, count, count)
        rows = slice(first, first + count * batch.positions)
        own = v[rows].unflatten(0, (count, -1))  # [C, S, H, d]
        mixed = torch.einsum("shqk,kshd->qshd", weights[crop], own)
        # What is missing went to the summary token.
        left = 1 - weights[crop].sum(dim=-1)
        summary = v[crop * batch.positions : (crop + 1) * batch.positions]
        mixed += torch.einsum("shq,shd->qshd", left, summary)
        torch.testing.assert_close(mixed.flatten(0, 1), fast[rows], atol=2e-6, rtol=0)
        assert (left > 0).all()
        first = rows.stop


def test_what_cannot_be_looked_at_is_told(small_model, crops, ragged):
    with pytest.raises(ValueError, match="has no marker attention layer"):
        encode_with_marker_attention(small_model(encoder="hh"), pack(*crops))
    with pytest.raises(ValueError, match="nothing is hidden"):
        encode_with_marker_attention(small_model(), pack(*ragged))
    with pytest.raises(ValueError, match="has no channel attention layer"):
        _ = ChannelSummaries(small_model(encoder="vv")).map_layer


@pytest.mark.parametrize(
    ("encoder", "layer"), [("hvhvhv", 2), ("hvhv", 2), ("vhh", 1), ("hhv", 1), ("vh", 1)]
)
def test_the_penultimate_spatial_layer_that_sees_markers_is_shown(small_model, encoder, layer):
    assert ChannelSummaries(small_model(encoder=encoder)).map_layer == layer


def dense_batch(model, crops=2, channels=5, grid=(4, 6), seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(crops, channels, 8 * grid[0], 8 * grid[1], generator=generator)
    ids = torch.stack([torch.randperm(12, generator=generator)[:channels] for _ in range(crops)])
    return images, ids


def test_without_the_new_tokens_the_blocks_are_the_encoder(small_model):
    model = small_model().eval()
    images, ids = dense_batch(model)
    seen = []
    handle = model.encoder.blocks[0].register_forward_pre_hook(lambda _, i: seen.append(i[0]))
    with torch.inference_mode():
        expected = model.encode(list(images), list(ids))
        handle.remove()
        positions = 24
        summary, own = seen[0].split([2 * positions, 10 * positions])
        x = torch.cat([summary.view(2, 1, positions, -1), own.view(2, 5, positions, -1)], dim=1)
        turns = rotary_grid(4, 6, model.config.head_width)
        x, _ = ChannelSummaries(model).run_blocks(x, turns)
        ours = model.encoder.norm(x[:, 0]).flatten()
    torch.testing.assert_close(ours, expected.all_summary.flatten(), atol=2e-5, rtol=0)


@pytest.mark.parametrize("encoder", ["hvhv", "hv"])
def test_a_map_sums_with_the_token_itself_to_one(small_model, encoder):
    model = small_model(encoder=encoder).eval()
    summaries = ChannelSummaries(model)
    images, ids = dense_batch(model)
    with torch.inference_mode():
        token, weights = summaries(images, ids)
        again, _ = ChannelSummaries(model)(images[:, [2, 0, 1, 4, 3]], ids[:, [2, 0, 1, 4, 3]])
    assert token.shape == (2, 64) and weights.shape == (2, 4, 6)
    assert (weights > 0).all() and (weights.sum(dim=(1, 2)) < 1).all()
    torch.testing.assert_close(token, again, atol=2e-5, rtol=0)  # the order of channels is free


def test_the_map_is_the_attention_of_the_backend(small_model):
    """With values that name the position, what attention returns at the token is its map."""
    model = small_model(heads=1, width=32, feedforward=32).eval()
    summaries, seen = ChannelSummaries(model), []
    images, ids = dense_batch(model, grid=(2, 3))
    block = model.encoder.blocks[summaries.map_layer]
    handle = block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    with torch.inference_mode():
        _, weights = summaries(images, ids)
        handle.remove()
        x, mix, turns = seen[0]
        q, k, _ = block.project(x, turns)
        names = torch.eye(7, 32).expand(*q.shape[:2], 7, 32)[..., None, :]
        fast = mix(q, k, names)[:, 0, -1, 0, :6]
    torch.testing.assert_close(weights.flatten(1), fast, atol=2e-6, rtol=0)


def test_equal_scores_give_a_flat_map(small_model):
    model = small_model().eval()
    with torch.no_grad():
        model.encoder.blocks[2].attention.qkv.weight.zero_()
        model.encoder.blocks[2].attention.qkv.bias.zero_()
        _, weights = ChannelSummaries(model)(*dense_batch(model))
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 25))


def test_the_token_learns(small_model):
    """Bright and dark crops are told apart after a few steps, and every new token gets a gradient.

    The token of a marker that no crop has gets none.
    """
    summaries = ChannelSummaries(small_model(width=32, feedforward=32, heads=2))
    head = torch.nn.Linear(32, 2)
    images, ids = dense_batch(summaries.model, crops=8, channels=3, grid=(2, 2))
    ids[:] = torch.arange(3)
    truth = torch.arange(8) % 2
    images = images + 2 * truth[:, None, None, None]
    optimiser = torch.optim.AdamW([*summaries.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(25):
        token, _ = summaries(images, ids)
        loss = torch.nn.functional.cross_entropy(head(token), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    gradient = summaries.tokens.grad.abs().sum(dim=1)
    assert loss < 0.1 and (gradient[[0, 1, 2, -1]] > 0).all() and (gradient[3:-1] == 0).all()
