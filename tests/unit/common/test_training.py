"""The engine: schedules in closed form, exact accumulation, resumption without a trace."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.training import checkpoint as checkpoint_module
from workflow_scripts.common.training.checkpoint import Checkpoint, differences
from workflow_scripts.common.training.gradients import accumulate_gradients, flat_gradients
from workflow_scripts.common.training.loop import finite_losses, train
from workflow_scripts.common.training.processes import Processes
from workflow_scripts.common.training.schedules import (
    learning_rate,
    make_optimizer,
    total_steps,
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
    gradients = flat_gradients(model)
    gradients += 1  # of an earlier step
    loss, errors = accumulate_gradients(objective, batches, gradients, no_scaler(), full)
    ours = [p.grad.clone() for p in model.parameters()]
    assert sum(errors).item() == pytest.approx(40 * loss.item(), rel=1e-5)
    model.zero_grad()
    whole = torch.cat(batches)
    mean = (model(whole) ** 3).mean()
    mean.backward()
    assert loss == pytest.approx(mean.item(), rel=1e-5)
    for mine, parameter in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-7)


class ToyBatches:
    """Two micro-batches of a step, random numbers by step and place; `hooks` run before one."""

    per_step = 2

    def __init__(self, steps, hooks=None):
        self.steps, self.hooks = steps, hooks or {}
        generator = torch.Generator().manual_seed(1)
        self.data = torch.randn(2 * steps, 2, 3, generator=generator)

    def stream(self, first):
        for i in range(2 * first, 2 * self.steps):
            yield self.hooks[i](self.data[i]) if i in self.hooks else self.data[i]

    def describe(self, step, place):
        return f"crop {2 * step + place}"


def run_toy(folder, steps, hooks=None, fingerprint=None, model=Toy, watch=None, **settings):
    torch.manual_seed(0)
    model = model()

    def objective(x):
        return (model(x) - x[:, :1]).square().sum(), 5 * len(x)

    checkpoint = Checkpoint(folder, fingerprint or {"a": 1}, window=3)
    batches, settings = ToyBatches(steps, hooks), SETTINGS | settings
    losses, seconds = train(
        model, objective, batches, steps, settings, "cpu", checkpoint, watch=watch
    )
    assert seconds > 0
    return losses, model.state_dict()


def stop_at(step):
    def stop(batch):
        os.kill(os.getpid(), signal.SIGUSR1)
        return batch

    return {2 * step - 1: stop}


class Noisy(Toy):
    """Draws from the global generator in every step."""

    def forward(self, x):
        return super().forward(torch.nn.functional.dropout(x, 0.3))


@pytest.mark.parametrize("model", [Toy, Noisy])
def test_a_stopped_run_goes_on_to_the_same_losses_and_weights(tmp_path, model):
    losses, weights = run_toy(tmp_path / "whole", 12, model=model)
    with pytest.raises(SystemExit) as stopped:
        run_toy(tmp_path / "cut", 12, stop_at(5), model=model)
    assert stopped.value.code == 1
    again, resumed = run_toy(tmp_path / "cut", 12, model=model)
    assert again == losses
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


def test_the_last_and_the_best_state_are_kept(tmp_path):
    with pytest.raises(SystemExit):
        run_toy(tmp_path, 40, stop_at(30), checkpoint_minutes=1e-9)
    assert {path.name for path in tmp_path.iterdir()} == {"last.safetensors", "best.safetensors"}
    states = {}
    for path in tmp_path.iterdir():
        with safe_open(path, "pt") as file:
            states[path.stem] = json.loads(file.metadata()["state"]), file.get_tensor("losses")
    header, losses = states["last"]
    assert header["step"] == len(losses) == 30
    means = [float(losses[max(0, i - 3) : i].mean()) for i in range(1, 31)]
    best, _ = states["best"]
    assert best["step"] == 1 + means.index(min(means)) < 30
    assert header["lowest"] == best["lowest"] == pytest.approx(min(means))


def test_a_checkpoint_of_another_run_is_refused_and_the_difference_named(tmp_path):
    first = {"settings": {"weight_decay": 0.04, "clip_norm": 1.0}, "code": "f0" * 30}
    other = {"settings": {"weight_decay": 0.4, "clip_norm": 3.0}, "code": "0f" * 30, "cohorts": {}}
    with pytest.raises(SystemExit):
        run_toy(tmp_path, 12, stop_at(5), fingerprint=first)
    sentence = (
        r"last\.safetensors: the checkpoint belongs to another run.*: settings\.weight_decay is "
        r"0\.04 there and 0\.4 here; code is f0f0f0f0f0f0\.\.\. there and 0f0f0f0f0f0f\.\.\. "
        r"here; cohorts is only here; restore them to go on, or delete .* to start again"
    )
    with pytest.raises(InputError, match=sentence):
        run_toy(tmp_path, 12, fingerprint=other)


def test_what_helps_a_loss_that_is_not_finite_may_change_on_the_way(tmp_path, caplog):
    def stop(step, **settings):
        fingerprint = {"settings": {"seed": 0} | settings}
        with pytest.raises(SystemExit):
            run_toy(tmp_path, 20, stop_at(step), fingerprint=fingerprint, **settings)
        with safe_open(tmp_path / "last.safetensors", "pt") as file:
            state = json.loads(file.metadata()["state"])
        assert state["step"] == step and state["fingerprint"] == fingerprint
        return state["changed"]

    assert stop(5, learning_rate=1e-2, precision="fp16", clip_norm=1.0) == []
    first = [
        {"step": 5, "key": "precision", "before": "fp16", "after": "bf16"},
        {"step": 5, "key": "learning_rate", "before": 1e-2, "after": 1e-3},
    ]
    assert stop(9, learning_rate=1e-3, precision="bf16", clip_norm=1.0) == first
    assert "going on after step 5 with another precision: fp16 -> bf16" in caplog.text
    assert "going on after step 5 with another learning_rate: 0.01 -> 0.001" in caplog.text
    assert stop(12, learning_rate=1e-3, precision="bf16", clip_norm=1.0) == first
    second = {"step": 12, "key": "clip_norm", "before": 1.0, "after": 0.5}
    assert stop(15, learning_rate=1e-3, precision="bf16", clip_norm=0.5) == [*first, second]


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True)])
def test_a_state_of_one_precision_is_read_in_another(tmp_path, before, after):
    model, checkpoint = Toy(), Checkpoint(tmp_path, {})
    optimizer = make_optimizer(model, SETTINGS)
    progress = {"step": 1, "losses": [1.0], "seconds": 1.0}
    checkpoint.save(model, optimizer, torch.amp.GradScaler("cpu", enabled=before), progress)
    scaler = torch.amp.GradScaler("cpu", enabled=after)
    assert Checkpoint(tmp_path, {}).resume(model, optimizer, scaler) == progress
    assert scaler.is_enabled() == after


def test_differences_of_equal_settings_are_none():
    settings = {"a": {"b": [1, 2], "c": None}, "d": 0.1}
    assert differences(settings, json.loads(json.dumps(settings))) == []


@pytest.mark.parametrize("failing", ["writes half", "refuses at the end", "is full from the start"])
def test_a_full_disk_never_costs_the_last_good_state(tmp_path, monkeypatch, caplog, failing):
    whole, weights = run_toy(tmp_path / "whole", 12)
    with pytest.raises(SystemExit):
        run_toy(tmp_path / "cut", 12, stop_at(5))
    good = (tmp_path / "cut/last.safetensors").read_bytes()

    def save_half(tensors, path, metadata):
        if failing != "is full from the start":
            Path(path).write_bytes(good[: len(good) // 2])
        if failing != "refuses at the end":
            raise OSError(errno.ENOSPC, "No space left on device")

    def refuse(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "save_file", save_half)
        patch.setattr(checkpoint_module.os, "fsync", refuse)
        with pytest.raises(SystemExit):
            run_toy(tmp_path / "cut", 12, stop_at(9))
    assert "the state after step 9 could not be written" in caplog.text
    assert "No space left on device" in caplog.text and "from an earlier step" in caplog.text
    assert (tmp_path / "cut/last.safetensors").read_bytes() == good
    assert not list((tmp_path / "cut").glob("*.part"))
    again, resumed = run_toy(tmp_path / "cut", 12)
    assert again == whole and all(torch.equal(weights[name], resumed[name]) for name in weights)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_disk_that_is_really_full_keeps_the_last_good_state(tmp_path, caplog):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        with pytest.raises(SystemExit):
            run_toy(disk / "run", 12, stop_at(5))
        good = (disk / "run/last.safetensors").read_bytes()
        (disk / "other data").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096 - 4096))
        with pytest.raises(SystemExit):
            run_toy(disk / "run", 12, stop_at(9))
        assert "the state after step 9 could not be written" in caplog.text
        assert (disk / "run/last.safetensors").read_bytes() == good
        (disk / "other data").unlink()
        with pytest.raises(SystemExit):
            run_toy(disk / "run", 12, stop_at(10))
        assert (disk / "run/last.safetensors").read_bytes() != good
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_training_and_names_step_and_crops(tmp_path, value):
    hooks = {2 * 6 + 1: lambda batch: batch * value}
    sentence = r"the loss of step 7 is nan, expected a finite number; it comes from crop 13; the "
    with pytest.raises(InputError, match=sentence):
        run_toy(tmp_path, 12, hooks)
    with pytest.raises(SystemExit):
        run_toy(tmp_path, 12, stop_at(5))
    good = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(InputError, match=sentence):  # found when the state is saved, not later
        run_toy(tmp_path, 12, hooks | stop_at(9))
    assert (tmp_path / "last.safetensors").read_bytes() == good


def test_a_crop_that_cannot_be_read_ends_the_training_with_its_sentence(tmp_path):
    with pytest.raises(InputError, match="^tissue t is broken$"):
        run_toy(tmp_path, 12, {9: lambda batch: InputError("tissue t is broken")})


def test_an_overflow_of_scaled_gradients_is_no_fault_of_the_loss():
    torch.manual_seed(0)
    model = Toy()
    gradients = flat_gradients(model)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizer = make_optimizer(model, SETTINGS)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)

    def objective(x):
        return 1e4 * model(x).square().sum(), 5 * len(x)

    full = torch.autocast("cpu", enabled=False)
    loss, errors = accumulate_gradients(objective, [torch.ones(2, 3)], gradients, scaler, full)
    assert not gradients.isfinite().all() and loss.isfinite()
    assert finite_losses([(loss, errors)], 1, None, Processes()) == [loss.item()]
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert scaler.get_scale() < 2.0**127


def test_the_engine_knows_no_model():
    folder = Path(checkpoint_module.__file__).parent
    assert not any("virtues_core" in path.read_text() for path in folder.glob("*.py"))
    code = (
        "import sys, workflow_scripts.common.training.loop as _; "
        "sys.exit('virtues_core' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
