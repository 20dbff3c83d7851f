"""FlashAttention over packed sequences (Dao 2024), on CUDA in half precision.

From the package flash-attn where it is installed, else from PyTorch. Both give the same gradients
every time under torch.use_deterministic_algorithms(True).
"""

import logging

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from virtues_core.attention import missing
from virtues_core.attention.layout import Layout
from virtues_core.attention.sdpa import attend  # noqa: F401  PyTorch takes FlashAttention there

logger = logging.getLogger(__name__)
flash_attn_varlen_func = None
if missing.flash_attn() is None:
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError as error:  # built for another PyTorch, say
        logger.warning("flash-attn cannot be imported (%s): PyTorch's own is used", error)


def attend_packed(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
    """Attend within packed sequences; shapes as in `virtues_core.attention.attend_packed`."""
    if layout.order is not None:
        q, k, v = (x.index_select(0, layout.order) for x in (q, k, v))
    offsets, longest = layout.offsets, layout.max_length
    if flash_attn_varlen_func is None:
        out = varlen_attn(q, k, v, offsets, offsets, longest, longest)
    else:
        repeatable = torch.are_deterministic_algorithms_enabled()
        out = flash_attn_varlen_func(
            q, k, v, offsets, offsets, longest, longest, deterministic=repeatable
        )
    if layout.order is None:
        return out
    return torch.empty_like(out).index_copy(0, layout.order, out)
