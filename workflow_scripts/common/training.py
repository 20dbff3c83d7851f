"""The training engine: optimiser, schedules, checkpoints and the loop, for any model.

A model enters as an `objective(micro_batch) -> (sum of squared errors, pixels)`. Sums are
divided by the pixels of the whole effective batch (Methods, "Pretraining"), so the result does
not depend on how a batch is cut into micro-batches.
"""

import json
import math
import shutil
import signal
import sys
import time
from itertools import islice
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log

START = {"step": 0, "losses": [], "seconds": 0.0}
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def total_steps(settings, n_sub_images):
    """Optimiser steps of a run: `max_steps`, or `epochs` visits of every sub-image."""
    if settings["max_steps"]:
        return settings["max_steps"]
    return math.ceil(settings["epochs"] * n_sub_images / settings["batch"])


def learning_rate(step, steps, settings):
    """Learning rate of a step (0-based).

    `cosine`: linear warm-up, then a half cosine to 0. `one_cycle`: a half cosine up from 1/25 of
    the peak, then a half cosine down to 0.
    """
    peak = settings["learning_rate"]
    warmup = max(1, round(settings["warmup"] * steps))
    if step < warmup:
        if settings["schedule"] == "one_cycle":
            return peak * (1 / 25 + (1 - 1 / 25) * _half_cosine(step / warmup))
        return peak * (step + 1) / warmup
    return peak * (1 - _half_cosine((step - warmup) / max(1, steps - warmup)))


def weight_decay(step, steps, settings):
    """Weight decay of a step: a half cosine between its two ends."""
    start, end = settings["weight_decay"], settings["weight_decay_end"]
    return start + (end - start) * _half_cosine(step / max(1, steps))


def _half_cosine(share):
    return (1 - math.cos(math.pi * min(1.0, share))) / 2


def make_optimizer(model, settings):
    """AdamW that decays everything except biases and the affine terms of norms."""
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, torch.nn.LayerNorm)
        for parameter in module.parameters()
    }
    kept, decayed = [], []
    for name, parameter in model.named_parameters():
        undecayed = id(parameter) in norms or name.endswith("bias")
        (kept if undecayed else decayed).append(parameter)
    groups = [{"params": decayed, "decays": True}, {"params": kept, "decays": False}]
    return torch.optim.AdamW(groups, lr=settings["learning_rate"], weight_decay=0.0, fused=True)


class Checkpoint:
    """Weights, optimiser state and step in one folder, replaced atomically, without pickle."""

    def __init__(self, folder, fingerprint):
        """`fingerprint`: what a run must share with a checkpoint to continue from it."""
        self.folder = Path(folder)
        self.fingerprint = fingerprint

    def save(self, model, optimizer, scaler, progress):
        """Write the state after `progress["step"]` steps."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        header = progress | {"scaler": scaler.state_dict(), "fingerprint": self.fingerprint}
        part = self.folder / "latest.part"
        save_file(tensors, part, {"state": json.dumps(header)})
        part.replace(self.folder / "latest.safetensors")

    def remove(self):
        """Delete the state of a run whose weights are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def resume(self, model, optimizer, scaler):
        """Load the last state and return its progress, or None when there is none."""
        path = self.folder / "latest.safetensors"
        if not path.exists():
            return None
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["state"])
        if header.pop("fingerprint") != self.fingerprint:
            raise InputError(
                f"{path}: the checkpoint belongs to other settings, data or code; expected the "
                f"ones of this run; delete {self.folder} to start again"
            )
        tensors = load_file(path)
        model.load_state_dict(
            {k[len("model.") :]: v for k, v in tensors.items() if k.startswith("model.")}
        )
        state = optimizer.state_dict()
        for key, tensor in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                state["state"].setdefault(int(index), {})[name] = tensor
        optimizer.load_state_dict(state)
        scaler.load_state_dict(header.pop("scaler"))
        return header


def train(model, objective, micro_batches, steps, settings, device, checkpoint):
    """Train `model` for `steps` optimiser steps; return the loss of every step and the seconds.

    `micro_batches(first_step)` yields the micro-batches from that step on. On SIGINT, SIGTERM
    or SIGUSR1 (a cluster's wall time) the state is saved and the process exits with 1; the next
    start continues from there.
    """
    precision = settings["precision"] if device == "cuda" else "fp32"
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    optimizer = make_optimizer(model, settings)
    scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")
    progress = checkpoint.resume(model, optimizer, scaler) or START
    first, losses = progress["step"], [torch.tensor(loss) for loss in progress["losses"]]
    log.info("training on %s in %s from step %d to %d", device, precision, first, steps)

    stop = []
    handlers = {s: signal.signal(s, lambda number, _: stop.append(number)) for s in STOP_SIGNALS}
    stream = iter(micro_batches(first))
    saved = started = time.monotonic()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, settings)
            group["weight_decay"] = weight_decay(step, steps, settings) if group["decays"] else 0.0
        batch = islice(stream, math.ceil(settings["batch"] / settings["micro_batch"]))
        autocast = torch.autocast(device, dtype, enabled=dtype != torch.float32)
        loss = accumulate_gradients(objective, batch, model, scaler, autocast)
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip_norm"])
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss)

        done = step + 1
        if done % settings["log_every"] == 0 or done == steps:
            mean = float(torch.stack(losses[-settings["log_every"] :]).mean())
            rate = (done - first) / (time.monotonic() - started)
            left = (steps - done) / rate
            log.info(
                "step %d/%d loss %.4f, %.2f steps/s, %.0f s left", done, steps, mean, rate, left
            )
        due = time.monotonic() - saved > 60 * settings["checkpoint_minutes"]
        if due or (stop and done < steps):
            seconds = progress["seconds"] + time.monotonic() - started
            state = {"step": done, "losses": torch.stack(losses).tolist(), "seconds": seconds}
            checkpoint.save(model, optimizer, scaler, state)
            saved = time.monotonic()
        if stop and done < steps:
            log.error("stopped by signal %d after step %d; start again to go on", stop[0], done)
            sys.exit(1)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    seconds = progress["seconds"] + time.monotonic() - started
    return [float(loss) for loss in losses], seconds


def accumulate_gradients(objective, batch, model, scaler, autocast):
    """Leave in `.grad` the gradient of the mean over all pixels of a batch; return that mean.

    The pixels of the whole batch are known only after its last micro-batch, so gradients are
    scaled by the first one's pixels, which keeps them in half precision's range, and corrected.
    """
    model.zero_grad(set_to_none=True)
    error, pixels, unit = 0.0, 0, None
    for micro_batch in batch:
        with autocast:
            micro_error, micro_pixels = objective(micro_batch)
        unit = unit or micro_pixels
        scaler.scale(micro_error / unit).backward()
        error, pixels = error + micro_error.detach().float(), pixels + micro_pixels
    if pixels != unit:
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(unit / pixels)
    return error / pixels
