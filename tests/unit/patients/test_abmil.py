"""The gated attention head: closed forms, invariances, and its gradient chunk by chunk."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from workflow_scripts.patients.abmil import GatedABMIL, add_gradient


def drawn(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))


def test_two_tokens_by_hand():
    """x = 0 and 1, all weights 1: the score of 1 is tanh(1) sigmoid(1) = 0.556770."""
    model = GatedABMIL(width=1, classes=2, heads=1, hidden=1)
    for layer in (model.tanh, model.gate):
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    torch.nn.init.ones_(model.heads.weight)
    pooled, attention = model.pool([torch.tensor([[0.0], [1.0]])])
    np.testing.assert_allclose(attention[0].squeeze(), [0.364295, 0.635705], atol=1e-6)
    assert pooled.item() == pytest.approx(0.635705, abs=1e-6)


def test_without_preference_every_head_takes_the_mean():
    model = GatedABMIL(width=5, classes=3, heads=4, hidden=7)
    torch.nn.init.zeros_(model.heads.weight)
    tokens = drawn(9, 5)
    torch.testing.assert_close(model.pool([tokens])[0], tokens.mean(0).expand(4, 5))


def test_a_single_token_is_what_every_head_pools():
    tokens = drawn(1, 5)
    pooled, _ = GatedABMIL(width=5, classes=3, heads=4, hidden=7).pool([tokens])
    torch.testing.assert_close(pooled, tokens.expand(4, 5))


def test_heads_are_classified_side_by_side_and_order_does_not_matter():
    model = GatedABMIL(width=5, classes=3, heads=4, hidden=7)
    tokens = drawn(11, 5)
    hidden = torch.tanh(model.tanh(tokens)) * torch.sigmoid(model.gate(tokens))
    logits = model.classifier.bias.clone()
    for head in range(4):
        weights = torch.exp(hidden @ model.heads.weight[head])
        mean = (weights[:, None] * tokens).sum(0) / weights.sum()
        logits = logits + model.classifier.weight[:, 5 * head : 5 * head + 5] @ mean
    torch.testing.assert_close(model(tokens), logits)
    torch.testing.assert_close(model(tokens.flip(0)), logits)


@pytest.mark.parametrize("kind", [list, tuple])  # a list of few tokens is kept, all else is not
@pytest.mark.parametrize("sizes", [[12], [5, 7], [1, 10, 1]])
def test_chunks_give_the_gradient_of_the_whole_bag(sizes, kind):
    whole, parts = (GatedABMIL(5, classes=3, heads=2, hidden=7, seed=1).double() for _ in range(2))
    tokens, label = drawn(12, 5).double(), torch.tensor([2])
    loss = 0.25 * cross_entropy(whole(tokens)[None], label)
    loss.backward()
    again = add_gradient(parts, kind(tokens.split(sizes)), label, 0.25)
    torch.testing.assert_close(0.25 * again, loss.detach())
    for name, weight in whole.named_parameters():
        torch.testing.assert_close(parts.get_parameter(name).grad, weight.grad)


def test_attention_sums_to_one_over_the_chunks_of_a_bag():
    model = GatedABMIL(5, classes=3, heads=2, hidden=7)
    _, attention = model.pool(drawn(12, 5).split([4, 8]))
    assert [a.shape for a in attention] == [(4, 2), (8, 2)]
    torch.testing.assert_close(torch.cat(attention).sum(0), torch.ones(2))


def test_weights_follow_from_the_seed_and_leave_torch_s_own_alone():
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = (GatedABMIL(5, 3, heads=2, hidden=7, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.rand(1), before)
    assert torch.equal(one.classifier.weight, two.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
