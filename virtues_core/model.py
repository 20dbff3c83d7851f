"""VirTues: encoder, decoder and what they return.

Legend: B crops, M channels of all crops, C channels of one crop, (G, K) patch grid, D model width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from virtues_core.blocks import initialise
from virtues_core.config import VirTuesConfig
from virtues_core.decoder import Decoder
from virtues_core.encoder import Encoder
from virtues_core.packing import Packed, pack
from virtues_core.patches import unpatchify
from virtues_core.rotary import rotary_grid


@dataclass(frozen=True)
class Output:
    """What the model returns, as lists with one tensor for each crop or for all crops at once."""

    all_summary: Tensor  # [B, G, K, D]
    all_tokens: Tensor  # [M, G, K, D]
    all_reconstruction: Tensor | None  # [M, H, W]
    counts: tuple[int, ...]  # channels of each crop

    @property
    def summary(self) -> list[Tensor]:
        """Patch summary tokens after the final norm, [G, K, D] for each crop."""
        return list(self.all_summary)

    @property
    def tokens(self) -> list[Tensor]:
        """Image tokens after the final norm, hidden ones included, [C, G, K, D] for each crop."""
        return list(self.all_tokens.split(self.counts))

    @property
    def reconstruction(self) -> list[Tensor] | None:
        """Reconstructed crops, float32 [C, H, W] for each; None from the encoder alone."""
        if self.all_reconstruction is None:
            return None
        return list(self.all_reconstruction.split(self.counts))


class VirTues(nn.Module):
    """Masked autoencoder of multiplexed images with any set of markers (Methods).

    `marker_embeddings`, [markers, marker_width], has the protein embedding of each marker; it is
    data and not part of the weights.
    """

    def __init__(self, config: VirTuesConfig, marker_embeddings: Tensor):
        super().__init__()
        if marker_embeddings.ndim != 2 or marker_embeddings.shape[1] != config.marker_width:
            raise ValueError(
                f"marker embeddings must have the shape [markers, {config.marker_width}], "
                f"not {list(marker_embeddings.shape)}."
            )
        self.config = config
        self.register_buffer("marker_embeddings", marker_embeddings.float(), persistent=False)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        initialise(self)

    def forward(
        self,
        images: Sequence[Tensor] | Packed,
        channels: Sequence[Tensor] | None = None,
        masks: Sequence[Tensor | None] | None = None,
    ) -> Output:
        """Encode and reconstruct crops, given as lists or as what `pack` made of them.

        For each crop: an image [C, H, W], int64 [C] rows of the marker embeddings and a mask,
        bool [C, G, K] with True = hidden, or None. Raises ValueError when the batch does not fit.
        """
        return self._run(self._batch(images, channels, masks), decode=True)

    def encode(
        self,
        images: Sequence[Tensor] | Packed,
        channels: Sequence[Tensor] | None = None,
        masks: Sequence[Tensor | None] | None = None,
    ) -> Output:
        """Do the same as calling the model, without the decoder."""
        return self._run(self._batch(images, channels, masks), decode=False)

    def encode_summaries(
        self,
        images: Sequence[Tensor] | Packed,
        channels: Sequence[Tensor] | None = None,
        masks: Sequence[Tensor | None] | None = None,
    ) -> Tensor:
        """Return `encode`'s patch summary tokens [B, G, K, D], without what only others need."""
        batch, tokens, _ = self.encode_packed(self._batch(images, channels, masks), summaries=True)
        return tokens.unflatten(0, (batch.crops, batch.rows, batch.cols))

    def compile_blocks(self, **options) -> None:
        """Compile what the blocks compute for each token; attention has kernels of its own.

        Worth it on a GPU, with batches packed with `round_up`. Options are `torch.compile`'s.
        """
        for block in [*self.encoder.blocks, *self.decoder.blocks]:
            block.compile_parts(**options)
        self.decoder.turn = torch.compile(self.decoder.turn, **options)

    def encode_packed(
        self, batch: Packed, recompute: bool = False, summaries: bool = False
    ) -> tuple[Packed, Tensor, Tensor]:
        """Return a batch on the model's device, its tokens as `Encoder` returns them and turns.

        This and `Decoder` are the parts that calling the model joins. What `recompute` and
        `summaries` do is in `Encoder`. Raises ValueError when the batch does not fit.
        """
        if batch.patch != self.config.patch:
            raise ValueError(
                f"the batch was packed for patches of {batch.patch} px, the model has "
                f"{self.config.patch} px."
            )
        if batch.largest_channel >= len(self.marker_embeddings):
            raise ValueError(
                f"channel id {batch.largest_channel} has no row among the "
                f"{len(self.marker_embeddings)} marker embeddings."
            )
        device = self.marker_embeddings.device
        # Only towards an accelerator: a copy to the CPU that nobody waits for may be read too soon.
        batch = batch.to(device, non_blocking=device.type != "cpu")
        turns = rotary_grid(batch.rows, batch.cols, self.config.head_width, device)
        markers = self.marker_embeddings[batch.channels]
        return batch, self.encoder(batch, markers, turns, recompute, summaries), turns

    def _batch(self, images, channels, masks) -> Packed:
        if isinstance(images, Packed):
            return images
        return pack(images, channels, masks, patch=self.config.patch)

    def _run(self, batch: Packed, decode: bool) -> Output:
        batch, tokens, turns = self.encode_packed(batch)
        grid = (batch.rows, batch.cols)
        images = None
        if decode:
            qkv = self.decoder.project(tokens)
            groups = batch.decoded.split(self.decoder.channels_at_a_time(batch.positions))
            patches = [self.decoder(tokens, qkv, rows, turns) for rows in groups]
            images = unpatchify(torch.cat(patches), *grid)
        summary = tokens[: batch.crops * batch.positions].view(batch.crops, *grid, -1)
        own = tokens[batch.decoded[:, batch.positions :]].unflatten(1, grid)
        return Output(summary, own, images, batch.counts)
