"""The engine: schedules in closed form, exact accumulation, resumption without a trace."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.training import (
    Checkpoint,
    accumulate_gradients,
    learning_rate,
    make_optimizer,
    total_steps,
    train,
    weight_decay,
)

SETTINGS = {
    "epochs": 150,
    "max_steps": None,
    "batch": 4,
    "micro_batch": 2,
    "learning_rate": 2e-4,
    "schedule": "cosine",
    "warmup": 0.1,
    "weight_decay": 0.04,
    "weight_decay_end": 0.4,
    "clip_norm": 1.0,
    "precision": "fp16",
    "checkpoint_minutes": 60,
    "log_every": 100,
}


def test_steps_follow_epochs_and_max_steps_wins():
    assert total_steps(SETTINGS | {"batch": 512}, 200_000) == 58_594
    assert total_steps(SETTINGS | {"max_steps": 7}, 200_000) == 7


def test_cosine_warms_up_linearly_and_ends_at_zero():
    rates = [learning_rate(step, 100, SETTINGS) for step in range(101)]
    assert rates[0] == pytest.approx(2e-5)
    assert rates[9] == pytest.approx(2e-4)
    assert rates[55] == pytest.approx(1e-4)
    assert rates[100] == pytest.approx(0.0, abs=1e-12)


def test_one_cycle_is_that_of_torch():
    settings = SETTINGS | {"schedule": "one_cycle", "learning_rate": 1e-3}
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    oracle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1e-3, total_steps=1001, pct_start=0.1, final_div_factor=1e9
    )
    # torch reaches its peak one step before the share that it is given.
    for step in range(1, 1000):
        ours = learning_rate(step, 1000, settings)
        assert ours == pytest.approx(oracle.get_last_lr()[0], abs=2.5e-5)
        optimizer.step()
        oracle.step()


def test_weight_decay_rises_between_its_ends():
    assert weight_decay(0, 100, SETTINGS) == pytest.approx(0.04)
    assert weight_decay(50, 100, SETTINGS) == pytest.approx(0.22)
    assert weight_decay(100, 100, SETTINGS) == pytest.approx(0.4)


class Toy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.token = torch.nn.Parameter(torch.ones(3))
        self.linear = torch.nn.Linear(3, 5)
        self.norm = torch.nn.LayerNorm(5)

    def forward(self, x):
        return self.norm(self.linear(x + self.token))


def test_biases_and_norms_are_not_decayed_but_tokens_are():
    model = Toy()
    decayed, kept = (group["params"] for group in make_optimizer(model, SETTINGS).param_groups)
    assert {id(p) for p in decayed} == {id(model.token), id(model.linear.weight)}
    assert {id(p) for p in kept} == {
        id(model.linear.bias),
        id(model.norm.weight),
        id(model.norm.bias),
    }


def no_scaler():
    return torch.amp.GradScaler("cpu", enabled=False)


def test_micro_batches_of_unequal_size_give_the_mean_over_all_pixels():
    torch.manual_seed(0)
    model = Toy()
    batches = [torch.randn(n, 3) for n in (1, 5, 2)]

    def objective(x):
        return (model(x) ** 3).sum(), 5 * len(x)

    full = torch.autocast("cpu", enabled=False)
    loss = accumulate_gradients(objective, batches, model, no_scaler(), full)
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    whole = torch.cat(batches)
    mean = (model(whole) ** 3).mean()
    mean.backward()
    assert loss == pytest.approx(mean.item(), rel=1e-5)
    for mine, parameter in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-7)


def run_toy(folder, steps, until=None, fingerprint="a"):
    torch.manual_seed(0)
    model = Toy()
    data = torch.randn(steps * 2, 2, 3, generator=torch.Generator().manual_seed(1))

    def stream(first):
        for i in range(2 * first, 2 * steps):
            if until is not None and i == 2 * until - 1:
                os.kill(os.getpid(), signal.SIGUSR1)
            yield data[i]

    def objective(x):
        return (model(x) - x[:, :1]).square().sum(), 5 * len(x)

    checkpoint = Checkpoint(folder, fingerprint)
    losses, seconds = train(model, objective, stream, steps, SETTINGS, "cpu", checkpoint)
    assert seconds > 0
    return losses, model.state_dict()


def test_a_stopped_run_goes_on_to_the_same_losses_and_weights(tmp_path):
    losses, weights = run_toy(tmp_path / "whole", 12)
    with pytest.raises(SystemExit) as stopped:
        run_toy(tmp_path / "cut", 12, until=5)
    assert stopped.value.code == 1
    again, resumed = run_toy(tmp_path / "cut", 12)
    assert again == losses
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        run_toy(tmp_path, 12, until=5)
    with pytest.raises(InputError, match="other settings, data or code.*delete"):
        run_toy(tmp_path, 12, fingerprint="b")


def test_the_engine_knows_no_model():
    source = Path(sys.modules["workflow_scripts.common.training"].__file__).read_text()
    assert "virtues_core" not in source
    code = (
        "import sys, workflow_scripts.common.training as _; sys.exit('virtues_core' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
