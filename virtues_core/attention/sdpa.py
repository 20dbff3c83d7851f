"""Attention with PyTorch's scaled dot product, which needs sequences of one length.

Packed sequences are copied to the slots of their layout's buckets and back, once each way.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from virtues_core.attention.layout import Layout


def attend(q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None) -> Tensor:
    """Attend over sequences of equal length; shapes as in `virtues_core.attention.attend`.

    `real`, bool [sequences, 1, 1, keys], is False for keys to leave out.
    """
    # (sequences, tokens, heads, head_width) <-> (sequences, heads, tokens, head_width)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return scaled_dot_product_attention(q, k, v, attn_mask=real).transpose(1, 2)


def attend_packed(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
    """Attend within packed sequences; shapes as in `virtues_core.attention.attend_packed`."""
    sizes = [bucket.sequences * bucket.length for bucket in layout.buckets]
    q, k, v = (_to_slots(x, layout).split(sizes) for x in (q, k, v))
    outs = []
    for bucket, *qkv in zip(layout.buckets, q, k, v, strict=True):
        dense = (x.unflatten(0, (bucket.sequences, bucket.length)) for x in qkv)
        outs.append(attend(*dense, bucket.real).flatten(0, 1))
    out = torch.cat(outs) if len(outs) > 1 else outs[0]
    return out if layout.slots is None else out.index_select(0, layout.slots)


def _to_slots(x: Tensor, layout: Layout) -> Tensor:
    if layout.slots is None:
        return x
    # Padding is zero: left uninitialised it could hold NaN, which a mask does not remove.
    return x.new_zeros(layout.padded, *x.shape[1:]).index_copy_(0, layout.slots, x)
