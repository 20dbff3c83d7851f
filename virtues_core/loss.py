"""The reconstruction loss (Methods, "Loss function")."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from virtues_core.model import Output
from virtues_core.packing import Packed


def squared_error_sum(out: Output, images: Sequence[Tensor] | Packed) -> tuple[Tensor, int]:
    """Return the sum of squared errors, a float32 scalar, and the number of pixels in it.

    `images` are the crops [C, H, W] that were reconstructed, or their packed batch. To accumulate
    gradients, divide the sums by the pixels of the whole effective batch.
    """
    target = images.images if isinstance(images, Packed) else torch.cat(list(images))
    made = out.all_reconstruction
    if target.shape != made.shape:
        raise ValueError(
            f"images of the shape {list(target.shape)} cannot be compared with reconstructions "
            f"of the shape {list(made.shape)}, channels of all crops first."
        )
    return squared_error(made, target), target.numel()


def squared_error(made: Tensor, target: Tensor) -> Tensor:
    """Return the sum of squared differences of two tensors of one shape, in the type of `made`."""
    return mse_loss(made, target.to(made.device, made.dtype), reduction="sum")


def loss(out: Output, images: Sequence[Tensor] | Packed) -> Tensor:
    """Return the mean squared error over all pixels of all crops, visible and hidden alike.

    Pixels are pooled, so crops with more channels weigh more.
    """
    total, pixels = squared_error_sum(out, images)
    return total / pixels
