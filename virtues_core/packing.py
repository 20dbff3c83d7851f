"""Packing of a batch: all tokens that the encoder computes, in one row and without padding.

Legend: B crops, M channels of all crops together, S positions of the patch grid, V visible image
tokens, N = B * S + V tokens. The packed order is: the summary tokens of all crops, then the
visible image tokens by crop, channel and position. Hidden tokens are not in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from virtues_core.attention.layout import Layout, plan_layout
from virtues_core.records import TensorRecord


@dataclass(frozen=True)
class Packed(TensorRecord):
    """A batch with every index that the model needs, so that a step never waits for the device."""

    images: Tensor  # [M, H, W], the channels of all crops
    channels: Tensor  # int64 [M], rows of the marker embeddings
    crop: Tensor  # int64 [M], the crop that a channel belongs to
    visible: Tensor  # int64 [V], visible tokens as indices into [M * S]
    visible_channel: Tensor  # int64 [V], the channel of each, as an index into [M]
    position: Tensor  # int64 [N], grid position of each packed token
    channel_attention: Layout  # tokens of one channel attend to each other
    marker_attention: Layout  # tokens at one position of a crop attend to each other
    counts: tuple[int, ...]  # channels of each crop
    rows: int
    cols: int
    patch: int  # px
    largest_channel: int  # kept beside `channels`, as reading it from the device would wait

    @property
    def crops(self) -> int:
        """Number of crops, B."""
        return len(self.counts)

    @property
    def positions(self) -> int:
        """Number of grid positions, S."""
        return self.rows * self.cols


def pack(
    images: Sequence[Tensor],
    channels: Sequence[Tensor],
    masks: Sequence[Tensor | None] | None = None,
    patch: int = 8,
) -> Packed:
    """Pack crops for `VirTues`; meant to run in the workers of a data loader.

    For each crop: an image [C, H, W], its channels' marker rows [C] and a mask, bool
    [C, H / patch, W / patch] with True = hidden, or None when all is visible. C may differ
    between crops, H and W may not. Raises ValueError that names the crop that does not fit.
    """
    images = [torch.as_tensor(image) for image in images]
    channels = [torch.as_tensor(ids).long().cpu() for ids in channels]
    masks = [None] * len(images) if masks is None else list(masks)
    _check_crops(images, channels, masks, patch)
    height, width = images[0].shape[-2:]
    rows, cols = height // patch, width // patch
    counts = tuple(len(image) for image in images)
    crops, positions = len(images), rows * cols
    shown = [
        _shown(mask, (count, rows, cols), i)
        for i, (mask, count) in enumerate(zip(masks, counts, strict=True))
    ]
    shown = torch.cat(shown).flatten(1)  # [M, S]

    visible = shown.flatten().nonzero().squeeze(1)
    visible_channel, visible_position = visible // positions, visible % positions
    crop = torch.arange(crops).repeat_interleave(torch.tensor(counts))
    position = torch.cat([torch.arange(positions).repeat(crops), visible_position])
    # Crop and position of a packed token as one number: its marker attention sequence.
    visible_site = crop[visible_channel] * positions + visible_position
    site = torch.cat([torch.arange(crops * positions), visible_site])

    channel_lengths = torch.cat([torch.full((crops,), positions), shown.sum(1)])
    marker_lengths = torch.bincount(site)
    ids = torch.cat(channels)
    return Packed(
        images=torch.cat(images),
        channels=ids.to(images[0].device),
        crop=crop,
        visible=visible,
        visible_channel=visible_channel,
        position=position,
        # The packed order already has the tokens of a channel side by side.
        channel_attention=plan_layout(channel_lengths[channel_lengths > 0]),
        marker_attention=plan_layout(marker_lengths, order=site.argsort(stable=True)),
        counts=counts,
        rows=rows,
        cols=cols,
        patch=patch,
        largest_channel=int(ids.max()),
    )


def _check_crops(images, channels, masks, patch) -> None:
    if not images:
        raise ValueError("cannot pack a batch without crops.")
    if not len(images) == len(channels) == len(masks):
        raise ValueError(
            f"a batch needs as many channel lists and masks as images, not {len(channels)} and "
            f"{len(masks)} for {len(images)} images."
        )
    for i, (image, ids) in enumerate(zip(images, channels, strict=True)):
        if image.ndim != 3 or 0 in image.shape:
            raise ValueError(f"crop {i} must have the shape [C, H, W], not {list(image.shape)}.")
        if image.shape[1:] != images[0].shape[1:]:
            raise ValueError(
                f"crops of a batch must be of one size, but crop {i} has {list(image.shape[1:])} "
                f"and crop 0 has {list(images[0].shape[1:])} pixels."
            )
        if image.shape[1] % patch or image.shape[2] % patch:
            raise ValueError(
                f"the sides of crop {i}, {list(image.shape[1:])} pixels, must be multiples of the "
                f"patch side {patch}."
            )
        if ids.shape != image.shape[:1]:
            raise ValueError(
                f"crop {i} has {len(image)} channels, but its channel ids have the shape "
                f"{list(ids.shape)}."
            )
        if ids.min() < 0:
            raise ValueError(f"crop {i} has the channel id {int(ids.min())}; ids start at 0.")


def _shown(mask, shape, i) -> Tensor:
    if mask is None:
        return torch.ones(shape, dtype=torch.bool)
    mask = torch.as_tensor(mask).cpu()
    if mask.dtype != torch.bool or mask.shape != shape:
        raise ValueError(
            f"the mask of crop {i} must be bool {list(shape)}, not {mask.dtype} {list(mask.shape)}."
        )
    return ~mask
