"""The gradient of one effective batch, exact over micro-batches and processes (D28)."""

import math

import torch

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.training.processes import Processes


def flat_gradients(model):
    """Give all parameters gradients that are views of one tensor of zeros, and return it."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    sizes = [p.numel() for p in parameters]
    flat = torch.zeros(sum(sizes), device=parameters[0].device)
    for parameter, part in zip(parameters, flat.split(sizes), strict=True):
        parameter.grad = part.view_as(parameter)
    return flat


def accumulate_gradients(objective, batch, gradients, scaler, autocast, processes=None):
    """Fill `gradients` with the gradient of the mean over all pixels of all processes' batches.

    Returns that mean, a tensor, and the sum of errors of each micro-batch of this process. The
    pixels of the whole are known only after the last micro-batch, so gradients are scaled by the
    first one's pixels, which keeps them in half precision's range, and corrected. A micro-batch
    that is an InputError counts as an error that is not a number.
    """
    processes = processes or Processes()
    gradients.zero_()
    unit, errors = 0, []
    sums = gradients.new_zeros(2, dtype=torch.float64)  # errors and pixels
    for micro_batch in batch:
        if isinstance(micro_batch, InputError):
            errors.append(micro_batch)
            sums += math.nan
            continue
        with autocast:
            error, pixels = objective(micro_batch)
        unit = unit or pixels
        scaler.scale(error / unit).backward()
        errors.append(error.detach())
        sums[0] += errors[-1]
        sums[1] += pixels
    processes.sum(sums)
    gradients.mul_(unit / sums[1])
    processes.sum(gradients)
    return (sums[0] / sums[1]).float(), errors
