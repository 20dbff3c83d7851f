"""The decoder: each channel by itself, its image tokens together with the summary tokens.

Legend: B crops, M channels of all crops, S positions, D model width.
"""

from functools import partial

import torch
from torch import Tensor, nn

from virtues_core.attention import attend
from virtues_core.blocks import Block
from virtues_core.config import VirTuesConfig


class Decoder(nn.Module):
    """Transformer over 2S tokens and linear head (Methods, "VirTues Decoder")."""

    def __init__(self, config: VirTuesConfig):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in config.decoder)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.patch**2)

    def forward(self, summary: Tensor, tokens: Tensor, crop: Tensor, turns: Tensor) -> Tensor:
        """Reconstruct the patches of every channel, float32 [M, S, patch * patch].

        Takes summary tokens [B, S, D], image tokens [M, S, D] and the crop of each channel [M].
        """
        positions = tokens.shape[1]
        mix = partial(attend, backend=self.config.attention)
        turns = turns.repeat(2, 1, 1)
        x = torch.cat([summary[crop], tokens], dim=1)  # [M, 2S, D]
        for block in self.blocks[:-1]:
            x = block(x, mix, turns)
        # Of the last block only the image tokens are used.
        x = self.blocks[-1](x, mix, turns, queries=positions)
        return self.head(self.norm(x)).float()
