"""The decoder: each channel by itself, its image tokens together with the summary tokens.

What enters it has few different tokens: a channel's hidden ones are all the same, and the channels
of a crop share its summary tokens. The first block therefore projects every token once, before
tokens are copied to the channels; queries and keys differ by position only through the rotation.

Legend: M channels, S positions, T different tokens, D model width.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from virtues_core.attention import attend
from virtues_core.blocks import Block, Projected, turn
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
        self.turn = turn

    def project(self, tokens: Tensor) -> Projected:
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

    def forward(self, tokens: Tensor, projected: Projected, rows: Tensor, turns: Tensor) -> Tensor:
        """Reconstruct the patches of channels, float32 [M, S, patch * patch].

        Takes the different tokens [T, D], what `project` makes of them, and for each channel the
        rows of its summary tokens, then of its image tokens, int64 [M, 2S].
        """
        channels, positions = len(rows), rows.shape[1] // 2
        turns = turns.repeat(2 * channels, 1, 1, 1)

        def mix(q, k, v):
            q, k, v = (part.unflatten(0, (channels, -1)) for part in (q, k, v))
            return attend(q, k, v, self.config.attention).flatten(0, 1)

        def own(x):
            return x.unflatten(0, (channels, -1))[:, positions:].flatten(0, 1)

        x = embedding(rows.flatten(), tokens)  # [M * 2S, D]
        q, k, v = (_copy(part, rows.flatten()) for part in projected)
        projected = self.turn(q, turns), self.turn(k, turns), v
        for block in self.blocks[:-1]:
            x = block(x, mix, turns, projected)
            projected = None

        # Of the last block only the image tokens are used.
        last = self.blocks[-1]
        if projected is None:
            normed = last.norm1(x)
            q, k, v = last.attention.project_apart(own(normed), normed)
            projected = self.turn(q, turns[: len(q)]), self.turn(k, turns), v
        else:
            projected = own(projected[0]), *projected[1:]
        x = last(own(x), mix, turns, projected)
        return widen(self.head(self.norm(x))).unflatten(0, (channels, -1))


def _copy(part: Tensor, rows: Tensor) -> Tensor:
    """Return the given rows of queries, keys or values [T, heads, head_width]."""
    # As a look-up, copying sums the gradients of a token in a fixed order, also on a GPU.
    return embedding(rows, part.flatten(1)).view(len(rows), *part.shape[1:])
