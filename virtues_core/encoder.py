"""The encoder: tokens of all crops, packed, through channel and marker attention blocks.

Legend: B crops, M channels of all crops, S positions, N packed tokens, D model width.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from virtues_core.attention import attend_packed
from virtues_core.blocks import Block
from virtues_core.config import VirTuesConfig
from virtues_core.packing import Packed
from virtues_core.patches import patchify
from virtues_core.precision import widen


class Encoder(nn.Module):
    """Tokenisation and encoder (Methods, "Tokenization", "Masking", "VirTues Encoder")."""

    def __init__(self, config: VirTuesConfig):
        super().__init__()
        self.config = config
        self.patch_projection = nn.Linear(config.patch**2, config.width)
        self.marker_projection = nn.Linear(config.marker_width, config.width)
        self.masked_token = nn.Parameter(torch.randn(config.width) / config.width**0.5)
        self.summary_token = nn.Parameter(torch.randn(config.width) / config.width**0.5)
        self.blocks = nn.ModuleList(Block(config) for _ in config.encoder)
        self.norm = nn.LayerNorm(config.width)

    def forward(
        self, batch: Packed, marker_embeddings: Tensor, turns: Tensor, recompute: bool = False
    ) -> Tensor:
        """Encode a batch, given the marker embeddings of its channels [M, marker_width].

        Returns tokens after the final norm, [N + M, D]: the packed ones and the hidden token of
        each channel. A hidden token passes no block, so it is the norm of the masked token plus
        marker vector, the same wherever the channel is hidden. To `recompute` keeps of each block
        only what enters it and computes the block once more in the backward pass.
        """
        # The residual stream stays float32 under autocast.
        markers = widen(self.marker_projection(marker_embeddings))  # [M, D]
        x = self._embed(batch, markers)
        attend = {
            "h": partial(attend_packed, layout=batch.channel_attention),
            "v": partial(attend_packed, layout=batch.marker_attention),
        }
        # Tokens of a marker attention sequence share their position, which rotates nothing.
        turns = {"h": turns[batch.position], "v": None}
        for letter, block in zip(self.config.encoder, self.blocks, strict=True):
            mix = partial(attend[letter], backend=self.config.attention)
            if recompute and torch.is_grad_enabled():
                # Nothing is drawn at random, so there is no state of a generator to restore.
                options = {"use_reentrant": False, "preserve_rng_state": False}
                x = checkpoint(block, x, mix, turns[letter], **options)
            else:
                x = block(x, mix, turns[letter])
        return self.norm(torch.cat([x, self.masked_token + markers]))

    def _embed(self, batch: Packed, markers: Tensor) -> Tensor:
        """Return the packed tokens that enter the first block, float32 [N, D]."""
        patches = patchify(batch.images, self.config.patch).flatten(0, 1)  # [M * S, patch ** 2]
        visible = patches[batch.visible].to(self.patch_projection.weight.dtype)
        visible = self.patch_projection(visible) + markers[batch.visible_channel]
        summary = self.summary_token.expand(batch.crops * batch.positions, -1)
        return torch.cat([summary, visible, visible.new_zeros(batch.empty, summary.shape[1])])
