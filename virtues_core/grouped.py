"""Training with little memory: decoder, loss and backward pass by groups of channels.

The decoder sees each channel by itself, so its gradients add up over channels: every group goes
forwards and backwards before the next one starts, and the encoder goes backwards once, from the
sum. This changes no number but by rounding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from virtues_core.loss import squared_error
from virtues_core.model import VirTues
from virtues_core.packing import Packed
from virtues_core.patches import patchify
from virtues_core.precision import widen


def loss_backward(
    model: VirTues,
    batch: Packed,
    scale: float | Tensor = 1.0,
    channels_at_a_time: int | None = None,
    recompute: bool | None = None,
) -> tuple[Tensor, int]:
    """Add the gradient of `scale` * the sum of squared errors of a batch to `.grad`.

    Returns that sum, detached and without the scale, and the number of pixels in it, as
    `squared_error_sum`. `scale` may be a tensor, such as a gradient scaler's. Without
    `channels_at_a_time`, `Decoder.channels_at_a_time` decides. `recompute` computes the blocks of
    the encoder once more in the backward pass, which keeps their numbers out of memory; None does
    so on the CPU, where it costs a twelfth of the time. Call it under autocast for half
    precision. Weights of the decoder get their gradient in several parts, so the hooks of
    `DistributedDataParallel` do not fit: sum `.grad` over processes after the last batch of a
    step. Raises ValueError when the batch does not fit the model.
    """
    if channels_at_a_time is not None and channels_at_a_time < 1:
        raise ValueError(f"channels_at_a_time must be at least 1, not {channels_at_a_time}.")
    if recompute is None:
        recompute = model.marker_embeddings.device.type == "cpu"
    batch, tokens, turns = model.encode_packed(batch, recompute)
    size = channels_at_a_time or model.decoder.channels_at_a_time(batch.positions)
    ends = [tokens, *model.decoder.project(tokens)]
    # Gradients of the groups are added up in float32, also where the numbers are in half precision.
    starts = [widen(end.detach()).requires_grad_() for end in ends]

    error = torch.zeros((), device=tokens.device)
    groups = zip(batch.decoded.split(size), batch.images.split(size), strict=True)
    for rows, images in groups:
        tokens, *qkv = (start.to(end.dtype) for start, end in zip(starts, ends, strict=True))
        made = model.decoder(tokens, qkv, rows, turns)
        group_error = squared_error(made, patchify(images, batch.patch))
        _backward([group_error * scale])
        error = error + group_error.detach()
    _backward(ends, [start.grad.to(end.dtype) for start, end in zip(starts, ends, strict=True)])
    return error, batch.images.numel()


def _backward(ends: Sequence[Tensor], gradients: Sequence[Tensor] | None = None) -> None:
    # A backward pass chooses its types by the forward pass and not by autocast.
    with torch.autocast(ends[0].device.type, enabled=False):
        torch.autograd.backward(ends, gradients)
