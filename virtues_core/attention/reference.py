"""Attention spelled out in float32: the specification that other backends are tested against.

Slow on purpose, one sequence after the other, and it waits for the device to read the offsets.
"""

import torch
from torch import Tensor

from virtues_core.attention.layout import Layout


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend over sequences of equal length; shapes as in `virtues_core.attention.attend`."""
    return torch.stack([_attend_one(*one) for one in zip(q, k, v, strict=True)])


def attend_packed(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
    """Attend within packed sequences; shapes as in `virtues_core.attention.attend_packed`."""
    order = torch.arange(len(q), device=q.device) if layout.order is None else layout.order
    lengths = layout.offsets.diff().tolist()
    sequences = zip(*(x[order].split(lengths) for x in (q, k, v)), strict=True)
    out = torch.cat([_attend_one(*one) for one in sequences])
    return out[order.argsort()]


def softmax_weights(q: Tensor, k: Tensor) -> Tensor:
    """Return how much each query looks at each key, float32 [..., heads, queries, keys].

    Takes q [..., queries, heads, head_width] and k [..., keys, heads, head_width].
    """
    with torch.autocast(q.device.type, enabled=False):
        scores = torch.einsum("...qhd,...khd->...hqk", q.float(), k.float()) / q.shape[-1] ** 0.5
        return scores.softmax(dim=-1)


def _attend_one(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Take and return the tokens of one sequence, [tokens, heads, head_width]."""
    with torch.autocast(q.device.type, enabled=False):
        out = torch.einsum("hqk,khd->qhd", softmax_weights(q, k), v.float())
    return out.to(v.dtype)
