"""The decoder: each channel by itself, its image tokens together with the summary tokens.

What enters it has few different tokens: a channel's hidden ones are all the same, and the channels
of a crop share its summary tokens. The first block therefore projects every token once, before
tokens are copied to the channels; queries and keys differ by position only through the rotation.

Legend: M channels, S positions, T different tokens, D model width.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from virtues_core.attention import attend
from virtues_core.blocks import Block
from virtues_core.config import VirTuesConfig
from virtues_core.precision import widen


class Decoder(nn.Module):
    """Transformer over 2S tokens and linear head (Methods, "VirTues Decoder")."""

    def __init__(self, config: VirTuesConfig):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in config.decoder)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.patch**2)

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of the first block for the different tokens [T, D]."""
        return self.blocks[0].project(tokens)

    def channels_at_a_time(self, positions: int) -> int:
        """Return how many channels of S positions to decode together, at least 1.

        As many as keep what their backward pass needs in float32 within a budget: an eighth of a
        GPU's memory, and on the CPU 256 MiB, where small groups also stay in its caches.
        """
        block = 9 * self.config.width + 2 * self.config.feedforward  # numbers kept of each token
        channel = 4 * 2 * positions * block * len(self.blocks)
        device, budget = self.head.weight.device, 2**28
        if device.type == "cuda":
            budget = torch.cuda.get_device_properties(device).total_memory // 8
        return max(1, budget // channel)

    def forward(
        self, tokens: Tensor, qkv: tuple[Tensor, ...], rows: Tensor, turns: Tensor
    ) -> Tensor:
        """Reconstruct the patches of channels, float32 [M, S, patch * patch].

        Takes the different tokens [T, D], what `project` makes of them, and for each channel the
        rows of its summary tokens, then of its image tokens, int64 [M, 2S].
        """
        positions = rows.shape[1] // 2
        mix = partial(attend, backend=self.config.attention)
        turns = turns.repeat(2, 1, 1, 1)
        # Of the last block only the image tokens are used.
        queries = [None] * (len(self.blocks) - 1) + [positions]
        asking = rows if queries[0] is None else rows[:, positions:]
        copies = [embedding(r, x) for r, x in zip((asking, rows, rows), qkv, strict=True)]
        x = self.blocks[0](embedding(rows, tokens), mix, turns, queries[0], copies)
        for block, last in zip(self.blocks[1:], queries[1:], strict=True):
            x = block(x, mix, turns, last)
        return widen(self.head(self.norm(x)))
