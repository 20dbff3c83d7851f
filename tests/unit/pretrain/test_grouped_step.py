"""A step by groups of channels is the step of the whole loss, exactly but for rounding."""

import pytest
import torch

from tests.unit.pretrain.conftest import MODEL
from virtues_core import VirTues, VirTuesConfig, independent_mask, pack, squared_error_sum
from workflow_scripts.common.training.gradients import accumulate_gradients, flat_gradients
from workflow_scripts.common.training.schedules import make_optimizer
from workflow_scripts.pretrain.instance import GroupedLoss


def step(objective_of, counts=(6, 3, 5), dtype=torch.float64):
    """Return the loss, the gradients, and the weights after one optimiser step; flat."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    config = VirTuesConfig(**MODEL, marker_width=8)
    model = VirTues(config, torch.randn(6, 8)).to(dtype)
    model.decoder.channels_at_a_time = lambda positions: 2
    batches = []
    for count in counts:
        image = torch.randn(count, 16, 16, generator=generator).to(dtype)
        mask = independent_mask(count, (2, 2), generator=generator)
        batches.append(pack([image], [torch.arange(count)], [mask]))
    optimizer, gradients = make_optimizer(model, {"learning_rate": 1e-3}), flat_gradients(model)
    scaler, full = torch.amp.GradScaler("cpu", enabled=False), torch.autocast("cpu", enabled=False)
    loss, errors = accumulate_gradients(objective_of(model), batches, gradients, scaler, full)
    assert len(errors) == len(counts) and not any(error.requires_grad for error in errors)
    optimizer.step()
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return loss, gradients, weights


def whole(model):
    return lambda packed: squared_error_sum(model(packed), packed)


def test_gradients_and_weights_are_those_of_the_whole_loss():
    loss, gradients, weights = step(lambda model: GroupedLoss(model, "cpu"))
    expected_loss, expected, expected_weights = step(whole)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-6, atol=0)
    scale = expected.abs().max()
    assert (gradients - expected).abs().max() < 1e-6 * scale
    # AdamW scales up a gradient that is rounding alone, such as that of a key's bias.
    real = expected.abs() > 1e-6 * scale
    assert real.float().mean() > 0.5
    torch.testing.assert_close(weights[real], expected_weights[real], rtol=0, atol=1e-6)


def test_crops_of_half_precision_are_read_in_that_of_the_weights():
    loss = GroupedLoss(VirTues(VirTuesConfig(**MODEL, marker_width=8), torch.randn(3, 8)), "cpu")
    crop = torch.randn(3, 16, 16)
    sums = [
        loss.backward(pack([image], [torch.arange(3)], [None]), lambda pixels: 1 / pixels)
        for image in (crop.half(), crop.half().float())
    ]
    assert sums[0][0] == pytest.approx(sums[1][0].item()) and sums[0][1] == 3 * 16 * 16
