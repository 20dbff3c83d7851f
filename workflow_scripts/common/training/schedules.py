"""How many steps, at which learning rate and weight decay, and which weights decay.

All are functions of the step alone, so a checkpoint needs no state of them.
"""

import math

import torch

from workflow_scripts.common.training.lion import Lion


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
    """AdamW, or Lion where the settings say so; biases and the affine terms of norms do not decay.

    A model may have `rate_scale(name)`, a factor of the learning rate of each parameter, and
    `undecayed`, names that do not decay either.
    """
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, torch.nn.LayerNorm)
        for parameter in module.parameters()
    }
    scale_of, also = getattr(model, "rate_scale", lambda name: 1.0), getattr(model, "undecayed", ())
    groups = {}  # (scale, decays) -> parameters
    for name, parameter in model.named_parameters():
        undecayed = id(parameter) in norms or name.endswith(("bias", *also))
        if parameter.requires_grad:
            groups.setdefault((scale_of(name), not undecayed), []).append(parameter)
    groups = [
        {"params": parameters, "decays": decays, "scale": scale}
        for (scale, decays), parameters in sorted(
            groups.items(), key=lambda g: (-g[0][0], not g[0][1])
        )
    ]
    rate = settings["learning_rate"]
    if settings.get("optimizer") == "lion":
        return Lion(groups, lr=rate)
    return torch.optim.AdamW(groups, lr=rate, weight_decay=0.0, fused=True)
