"""The type of what must not be rounded to half precision: the residual stream and its ends."""

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """Return x in float32, also under autocast; float64 stays as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
