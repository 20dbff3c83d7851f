"""The gradient of one effective batch, exact over micro-batches and processes (D28)."""

import math

import torch

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.training.processes import Processes


def flat_gradients(model):
    """Give all parameters gradients that are views of one tensor of zeros, and return it."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    sizes = [p.numel() for p in parameters]
    flat = parameters[0].new_zeros(sum(sizes), requires_grad=False)
    for parameter, part in zip(parameters, flat.split(sizes), strict=True):
        parameter.grad = part.view_as(parameter)
    return flat


def accumulate_gradients(objective, batch, gradients, scaler, autocast, processes=None):
    """Fill `gradients` with the gradient of the mean over all pixels of all processes' batches.

    `objective`: see `train`. Returns that mean, a tensor, and the sum of errors of each
    micro-batch of this process. The pixels of the whole are known only after the last
    micro-batch, so gradients are scaled by the first one's pixels, which keeps them in half
    precision's range, and corrected. A micro-batch that is an InputError counts as an error that
    is not a number.
    """
    processes = processes or Processes()
    backward = getattr(objective, "backward", None) or through(objective)
    gradients.zero_()
    unit, errors = 0, []
    sums = gradients.new_zeros(2, dtype=torch.float64)  # errors and pixels

    def scale(pixels):
        nonlocal unit
        unit = unit or pixels
        return scaler.scale(gradients.new_full((), 1 / unit))

    for micro_batch in batch:
        if isinstance(micro_batch, InputError):
            errors.append(micro_batch)
            sums += math.nan
            continue
        with autocast:
            error, pixels = backward(micro_batch, scale)
        errors.append(error)
        sums[0] += error
        sums[1] += pixels
    processes.sum(sums)
    gradients.mul_(unit / sums[1])
    processes.sum(gradients)
    return (sums[0] / sums[1]).float(), errors


def through(objective):
    """Return the `backward` of an objective that leaves its gradient to PyTorch."""

    def backward(micro_batch, scale):
        error, pixels = objective(micro_batch)
        # A backward pass chooses its types by the forward pass and not by autocast.
        with torch.autocast(error.device.type, enabled=False):
            (error * scale(pixels)).backward()
        return error.detach(), pixels

    return backward
