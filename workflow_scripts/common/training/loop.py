"""The loop: gradients over an effective batch, one optimiser step, and when to save or stop.

Sums of squared errors are divided by the pixels of the whole effective batch (Methods,
"Pretraining"; D28), so the result depends neither on how a batch is cut into micro-batches nor
on how many processes share it.
"""

import math
import signal
import sys
import time
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice

import torch

from workflow_scripts.common.device import check_bfloat16
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log
from workflow_scripts.common.training.gradients import accumulate_gradients, flat_gradients
from workflow_scripts.common.training.processes import Processes
from workflow_scripts.common.training.schedules import learning_rate, make_optimizer, weight_decay
from workflow_scripts.common.training.time_left import stop_time
from workflow_scripts.common.training.watch import Watch

ADVICE = (
    "the last good state is kept: lower learning_rate (of pretrain, or of a rival's training) or "
    "set pretrain.precision: bf16, and start again to go on from it"
)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def train(
    model,
    objective,
    batches,
    steps,
    settings,
    device,
    checkpoint,
    processes=None,
    watch=None,
    after_step=None,
):
    """Train `model` for `steps` optimiser steps; return the loss of every step and the seconds.

    `objective(micro_batch)` returns (sum of squared errors, pixels), or another sum and what it is
    a mean over. One that takes its gradients by parts has a method `backward(micro_batch, scale)`
    instead: it adds the gradient of `scale(pixels)` times the sum to `.grad` and returns (sum,
    pixels), detached. `batches.stream(first_step)` is a generator of this process's micro-batches
    from that step on, `batches.per_step` to a step, with an InputError in place of one that cannot
    be read; `batches.describe(step, i)` names the crops of one. `after_step(processes)` is what a
    model has to do after each optimiser step, such as moving a teacher; all that it keeps must be
    in the model's state. On SIGINT, SIGTERM or SIGUSR1, and shortly before the time limit of a
    cluster's job, the state is saved and the process exits with 1; the next start goes on from
    there.
    """
    processes, watch = processes or Processes(), watch or Watch()
    precision = settings["precision"] if device == "cuda" else "fp32"
    if precision == "bf16":
        check_bfloat16(device, "set pretrain.precision: fp16, or ")
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    optimizer = make_optimizer(model, settings)
    gradients = flat_gradients(model)
    scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")
    first, losses, seconds = resume(checkpoint, model, optimizer, scaler, processes)
    log.info("training on %s in %s from step %d to %d", device, precision, first, steps)

    step_losses = []  # (loss, errors of the micro-batches) of each step since the last look
    saved = started = time.monotonic()
    ends = stop_time() if processes.rank == 0 else math.inf
    with stop_requests() as stop, closing(batches.stream(first)) as stream:
        for step in range(first, steps):
            rate = learning_rate(step, steps, settings)
            decay = weight_decay(step, steps, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
                group["weight_decay"] = decay if group["decays"] else 0.0
            autocast = torch.autocast(device, dtype, enabled=dtype != torch.float32)
            batch = watch.counted(islice(stream, batches.per_step))
            loss = accumulate_gradients(objective, batch, gradients, scaler, autocast, processes)
            step_losses.append(loss)
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip_norm"])
            scaler.step(optimizer)
            scaler.update()
            if after_step:
                after_step(processes)

            done = step + 1
            now = time.monotonic()
            due = now - saved > 60 * settings["checkpoint_minutes"]
            asked = stop[0] if stop else 0
            number, late, due = processes.largest(asked, int(now > ends), int(due))
            stopped = (number or late) and done < steps
            told = done % settings["log_every"] == 0 or done == steps
            if told or due or stopped:
                # A look at the losses waits for the device, so there is one every few steps.
                losses += finite_losses(step_losses, done, batches, processes)
                step_losses.clear()
            if told:
                start = max(first, done - settings["log_every"])
                watch.tell(done, steps, start, sum(losses[start:]) / (done - start), rate)
            if due or stopped:
                state = {"step": done, "losses": losses}
                state["seconds"] = seconds + time.monotonic() - started
                kept = processes.rank or checkpoint.save(model, optimizer, scaler, state)
                saved = time.monotonic()
            if stopped:
                processes.gather(None)  # none may leave, and end the others, before it is written
                if processes.rank == 0:
                    why = f"by signal {number}" if number else "before its job's time limit"
                    how = "" if kept else " from an earlier step"
                    log.error("stopped %s after step %d; start again to go on%s", why, done, how)
                sys.exit(1)
    return losses, seconds + time.monotonic() - started


def finite_losses(step_losses, done, batches, processes):
    """Return the losses of the steps before `done` as floats.

    If one is not finite, all processes end with an InputError that names the step and the crops.
    """
    losses = torch.stack([loss for loss, _ in step_losses]).tolist()
    for step, (loss, (_, errors)) in enumerate(
        zip(losses, step_losses, strict=True), done - len(losses)
    ):
        if not math.isfinite(loss):
            processes.together(partial(blame, step, errors, batches))
            processes.fail(
                f"the loss of step {step + 1} is {loss}, although that of every micro-batch is "
                f"finite; {ADVICE}"
            )
    return losses


def blame(step, errors, batches):
    """Raise the InputError of the first micro-batch of this process that went wrong, if any."""
    for place, error in enumerate(errors):
        if isinstance(error, InputError):
            raise error
        if not math.isfinite(error):
            raise InputError(
                f"the loss of step {step + 1} is {float(error)}, expected a finite number; it "
                f"comes from {batches.describe(step, place)}; {ADVICE}"
            )


def resume(checkpoint, model, optimizer, scaler, processes):
    """Return (step, losses, seconds) of the last state, the same on every process."""
    progress = processes.together(lambda: checkpoint.resume(model, optimizer, scaler))
    progress = progress or {"step": 0, "losses": [], "seconds": 0.0}
    steps = processes.gather(progress["step"])
    if len(set(steps)) > 1:
        processes.fail(
            f"{checkpoint.folder}: processes found the states of steps {sorted(set(steps))}, "
            "expected the same one; the folder must be on a file system that all nodes share"
        )
    processes.copy_first([parameter.data for parameter in model.parameters()])
    return progress["step"], progress["losses"], progress["seconds"]


@contextmanager
def stop_requests():
    """Collect the signals that ask to stop, in a list, until the block ends."""
    stop = []
    handlers = {s: signal.signal(s, lambda number, _: stop.append(number)) for s in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
