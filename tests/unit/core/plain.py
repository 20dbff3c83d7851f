"""The model written plainly on the same weights: what the savings must not change, or are beside.

Encoder blocks run on packed tokens, padded to one length inside attention; the decoder computes
every token of every channel in every block, all channels at once. With `attend(q, k, v, layout)`
over packed sequences in place of padding, also in the decoder, it is the scheme of the paper.
"""

from functools import lru_cache, partial

import torch
from torch.nn.functional import gelu, linear, mse_loss, scaled_dot_product_attention

from virtues_core.attention import plan_layout
from virtues_core.patches import patchify
from virtues_core.precision import widen
from virtues_core.rotary import rotary_grid, rotate


def tokens(model, batch, attend=None):
    """Return summary tokens [B, S, D] and image tokens [M, S, D]."""
    encoder, turns = model.encoder, _turns(model, batch)
    markers = widen(encoder.marker_projection(model.marker_embeddings[batch.channels]))
    patches = patchify(batch.images, batch.patch).flatten(0, 1)[batch.visible]
    visible = encoder.patch_projection(patches.to(markers.dtype)) + markers[batch.visible_channel]
    x = torch.cat([encoder.summary_token.expand(batch.crops * batch.positions, -1), visible])

    layouts = {"h": batch.channel_attention, "v": batch.marker_attention}
    turns = {"h": turns[batch.position], "v": None}
    for letter, block in zip(model.config.encoder, encoder.blocks, strict=True):
        x = _block(block, x, turns[letter], partial(attend or _padded, layout=layouts[letter]))

    summary, visible = encoder.norm(x).split([batch.crops * batch.positions, len(visible)])
    own = encoder.norm(encoder.masked_token + markers).repeat_interleave(batch.positions, 0)
    own = own.index_put((batch.visible,), visible)
    return summary.unflatten(0, (batch.crops, -1)), own.unflatten(0, (len(markers), -1))


def decode(model, batch, summary, own, attend=None):
    """Return patches [M, S, patch * patch]."""
    crop = torch.arange(batch.crops).repeat_interleave(torch.tensor(batch.counts))
    x = torch.cat([summary[crop.to(own.device)], own], dim=1)
    channels, length = x.shape[:2]
    turns, mix = _turns(model, batch).repeat(2, 1, 1, 1), _dense
    if attend:
        x, turns = x.flatten(0, 1), turns.repeat(channels, 1, 1, 1)
        mix = partial(attend, layout=_equal(channels, length, x.device))
    for block in model.decoder.blocks:
        x = _block(block, x, turns, mix)
    x = model.decoder.norm(x.view(channels, length, -1))[:, batch.positions :]
    return widen(model.decoder.head(x))


def squared_error_sum(model, batch, attend=None):
    """Return the sum of squared errors over all pixels."""
    target = patchify(batch.images, batch.patch)
    made = decode(model, batch, *tokens(model, batch, attend), attend)
    return mse_loss(made, target.to(made.dtype), reduction="sum")


def _turns(model, batch):
    return rotary_grid(batch.rows, batch.cols, model.config.head_width, batch.images.device)


@lru_cache
def _equal(sequences, length, device):
    return plan_layout(torch.full((sequences,), length)).to(device)


def _block(block, x, turns, mix):
    qkv = _linear(block.attention.qkv, block.norm1(x))
    q, k, v = (part.unflatten(-1, (block.attention.heads, -1)) for part in qkv.chunk(3, dim=-1))
    if turns is not None:
        q, k = rotate(q, turns).to(v.dtype), rotate(k, turns).to(v.dtype)
    x = x + _linear(block.attention.out, mix(q, k, v).flatten(-2))
    wider, narrower = block.feedforward[0], block.feedforward[2]
    return x + _linear(narrower, gelu(_linear(wider, block.norm2(x))))


def _linear(layer, x):
    return linear(x, layer.weight, layer.bias)  # PyTorch's, whatever the layer itself calls


def _dense(q, k, v, real=None):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return scaled_dot_product_attention(q, k, v, attn_mask=real).transpose(1, 2)


def _padded(q, k, v, layout):
    """Attend within packed sequences, all padded to the longest."""
    tokens, longest = len(q), layout.max_length
    lengths = layout.offsets.diff().long()
    sequence = torch.arange(len(lengths), device=q.device)
    sequence = sequence.repeat_interleave(lengths, output_size=tokens)
    place = torch.arange(tokens, device=q.device) - layout.offsets[sequence]
    if layout.order is not None:
        q, k, v = q[layout.order], k[layout.order], v[layout.order]
    if len(lengths) * longest == tokens:  # nothing to pad
        out = _dense(*(x.unflatten(0, (-1, longest)) for x in (q, k, v))).flatten(0, 1)
    else:
        zeros = q.new_zeros(len(lengths), longest, *q.shape[1:])
        dense = (zeros.index_put((sequence, place), x) for x in (q, k, v))
        real = torch.arange(longest, device=q.device) < lengths[:, None]
        out = _dense(*dense, real[:, None, None])[sequence, place]
    return out if layout.order is None else out[layout.order.argsort()]
