"""Blocks without gradients on the CPU: a few sequences pass a whole block before the next few do.

What lies between the layers of a block is nine times its input: 200 MB for 40 channels of 128 px.
Of a few sequences most of it stays in the caches, and its memory is used again. The weights of a
block are packed once for oneDNN, whose products add the bias and then apply GELU or add the
residual. But for rounding no number changes.

Legend: N tokens, D model width, n sequences of a group, L tokens of a sequence.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from virtues_core.attention import attend
from virtues_core.linear import PackedLinear, by_onednn
from virtues_core.rotary import rotate_

TOKENS = 2048  # of a group, about; fewer make slower products, more do not fit the caches


def pays(x: Tensor, layer: nn.Linear) -> bool:
    """Return whether tokens x [N, D] may pass blocks with layers like `layer` in groups."""
    return not torch.is_grad_enabled() and by_onednn(x, layer.weight)


@dataclass(frozen=True)
class Groups:
    """Sequences of one length, of which some at a time pass a block; see `Block.forward`."""

    order: Tensor | None  # int64 [N], tokens sequence by sequence; None: 0, 1, 2, ...
    length: int  # L
    backend: str  # of attention
    sequences: int | None = None  # how many are computed, the first ones; None: all
    asking: int | None = None  # how many tokens of each are, the first ones; None: all

    def run(self, block: nn.Module, x: Tensor, turns: Tensor | None = None) -> Tensor:
        """Pass tokens x [N, D] through a block and return them, changed in place.

        `turns` are the rotations of a sequence's places, float32 [L, 1, head_width / 2, 2]. Tokens
        that are not computed keep what entered.
        """
        asking, attention = self.asking or self.length, block.attention
        weights, biases = attention.qkv.weight, attention.qkv.bias
        width, rows = x.shape[1], min(TOKENS, len(x))
        ask = PackedLinear(weights[:width], biases[:width], rows)
        answer = PackedLinear(weights[width:], biases[width:], rows)
        out, wider, narrower = (
            PackedLinear(layer.weight, layer.bias, rows)
            for layer in (attention.out, block.feedforward[0], block.feedforward[2])
        )
        for places in self._groups(len(x)):
            own = x[places].unflatten(0, (-1, self.length))  # [n, L, D]
            normed = block.norm1(own)
            q = ask(normed[:, :asking]).unflatten(-1, (attention.heads, -1))
            k, v = answer(normed).unflatten(-1, (2, attention.heads, -1)).unbind(2)
            if turns is not None:
                rotate_(q, turns[:asking]), rotate_(k, turns)
            mixed = attend(q, k, v, self.backend).flatten(-2)
            own = out(mixed, add=own[:, :asking])
            made = narrower(wider(block.norm2(own), gelu=True), add=own)
            if asking < self.length:
                places = places.unflatten(0, (-1, self.length))[:, :asking].flatten()
            x[places] = made.flatten(0, 1)
        return x

    def _groups(self, tokens: int) -> Iterator[slice | Tensor]:
        """Yield the tokens of each group; a slice, where they lie side by side, copies nothing."""
        end = tokens if self.sequences is None else self.sequences * self.length
        step = max(1, TOKENS // self.length) * self.length
        for start in range(0, end, step):
            places = slice(start, min(start + step, end))
            yield places if self.order is None else self.order[places]
