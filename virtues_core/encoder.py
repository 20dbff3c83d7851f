"""The encoder: tokens of all crops, packed, through channel and marker attention blocks.

Legend: B crops, M channels of all crops, S positions, N packed tokens, D model width.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from virtues_core.attention import attend_packed
from virtues_core.blocks import Block
from virtues_core.config import VirTuesConfig
from virtues_core.inference import Groups, pays
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
        self,
        batch: Packed,
        marker_embeddings: Tensor,
        turns: Tensor,
        recompute: bool = False,
        summaries: bool = False,
    ) -> Tensor:
        """Encode a batch, given the marker embeddings of its channels [M, marker_width].

        Returns tokens after the final norm, [N + M, D]: the packed ones and the hidden token of
        each channel. A hidden token passes no block, so it is the norm of the masked token plus
        marker vector, the same wherever the channel is hidden. To `recompute` keeps of each block
        only what enters it and computes the block once more in the backward pass. With `summaries`
        only the patch summary tokens are returned, [B * S, D].
        """
        # The residual stream stays float32 under autocast.
        markers = widen(self.marker_projection(marker_embeddings))  # [M, D]
        x = self._embed(batch, markers)
        grouped = batch.dense and pays(x, self.blocks[0].attention.qkv)
        # Tokens of a marker attention sequence share their position, which rotates nothing.
        turns = {"h": turns if grouped else turns[batch.position], "v": None}
        for letter, block in zip(self.config.encoder, self.blocks, strict=True):
            if grouped:
                mix = self._groups(batch, letter, summaries and block is self.blocks[-1])
            else:
                layout = batch.channel_attention if letter == "h" else batch.marker_attention
                mix = partial(attend_packed, layout=layout, backend=self.config.attention)
            if recompute and torch.is_grad_enabled():
                # Nothing is drawn at random, so there is no state of a generator to restore.
                options = {"use_reentrant": False, "preserve_rng_state": False}
                x = checkpoint(block, x, mix, turns[letter], **options)
            else:
                x = block(x, mix, turns[letter])
        if summaries:
            return self.norm(x[: batch.crops * batch.positions])
        return self.norm(torch.cat([x, self.masked_token + markers]))

    def _groups(self, batch: Packed, letter: str, summaries: bool) -> Groups:
        """Return the sequences of a block, or only what the patch summary tokens need of them."""
        layout = batch.channel_attention if letter == "h" else batch.marker_attention
        groups = Groups(layout.order, layout.max_length, self.config.attention)
        if not summaries:
            return groups
        # They are the first channels, and the first at every position.
        only = {"sequences": batch.crops} if letter == "h" else {"asking": 1}
        return replace(groups, **only)

    def _embed(self, batch: Packed, markers: Tensor) -> Tensor:
        """Return the packed tokens that enter the first block, float32 [N, D]."""
        patches = patchify(batch.images, self.config.patch).flatten(0, 1)  # [M * S, patch ** 2]
        visible = patches[batch.visible].to(self.patch_projection.weight.dtype)
        visible = self.patch_projection(visible) + markers[batch.visible_channel]
        summary = self.summary_token.expand(batch.crops * batch.positions, -1)
        return torch.cat([summary, visible, visible.new_zeros(batch.empty, summary.shape[1])])
