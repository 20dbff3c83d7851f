"""Packing of a batch: all tokens that the encoder computes, in one row.

Legend: B crops, M channels of all crops together, S positions of the patch grid, V visible image
tokens, E empty tokens, N = B * S + V + E tokens. The packed order is: the summary tokens of all
crops, then the visible image tokens by crop, channel and position, then the empty tokens. Hidden
tokens are not in it. Empty tokens, if any, round N up to one of few sizes; they are zero, attend
to themselves alone and are part of no result.
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
    visible: Tensor  # int64 [V], visible tokens as indices into [M * S]
    visible_channel: Tensor  # int64 [V], the channel of each, as an index into [M]
    position: Tensor  # int64 [N], grid position of each packed token
    # int64 [M, 2S], what the decoder sees of each channel, the summary tokens of its crop and then
    # its own: numbers below N are packed tokens, N + m is the hidden token of channel m.
    decoded: Tensor
    channel_attention: Layout  # tokens of one channel attend to each other
    marker_attention: Layout  # tokens at one position of a crop attend to each other
    counts: tuple[int, ...]  # channels of each crop
    empty: int  # tokens that only fill up, E
    rows: int
    cols: int
    patch: int  # px
    largest_channel: int  # kept beside `channels`, as reading it from the device would wait

    @property
    def crops(self) -> int:
        """Number of crops, B."""
        return len(self.counts)

    @property
    def dense(self) -> bool:
        """Whether nothing is hidden and all crops have as many channels, so that nothing pads."""
        complete = len(self.visible) == len(self.channels) * self.positions
        return complete and len(set(self.counts)) == 1 and not self.empty

    @property
    def positions(self) -> int:
        """Number of grid positions, S."""
        return self.rows * self.cols


def pack(
    images: Sequence[Tensor],
    channels: Sequence[Tensor],
    masks: Sequence[Tensor | None] | None = None,
    patch: int = 8,
    round_up: bool = False,
) -> Packed:
    """Pack crops for `VirTues`; meant to run in the workers of a data loader.

    For each crop: an image [C, H, W], its channels' marker rows [C] and a mask, bool
    [C, H / patch, W / patch] with True = hidden, or None when all is visible. C may differ
    between crops, H and W may not. With `round_up`, empty tokens make the packed length one of
    few sizes, which spares a compiled model and the allocator of a GPU a new size in each step.
    Raises ValueError that names the crop that does not fit.
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
    real = crops * positions + len(visible)
    empty = round_length(real) - real if round_up else 0
    # Crop and position of a packed token as one number: its marker attention sequence. An empty
    # token has one of its own.
    summary_site, empty_site = torch.arange(crops * positions + empty).tensor_split(
        [crops * positions]
    )
    visible_site = crop[visible_channel] * positions + visible_position
    site = torch.cat([summary_site, visible_site, empty_site])

    summary_length, empty_length = torch.full((crops,), positions), torch.ones(empty).long()
    channel_lengths = torch.cat([summary_length, shown.sum(1), empty_length])
    marker_lengths = torch.bincount(site)
    ids = torch.cat(channels)
    pixels = torch.cat(images)
    _check_finite(pixels, counts)
    return Packed(
        images=pixels,
        channels=ids.to(pixels.device),
        visible=visible,
        visible_channel=visible_channel,
        position=site % positions,
        decoded=_decoded(visible, crop, crops * positions, real + empty, positions),
        # The packed order already has the tokens of a channel side by side.
        channel_attention=plan_layout(channel_lengths[channel_lengths > 0]),
        marker_attention=plan_layout(marker_lengths, order=site.argsort(stable=True)),
        counts=counts,
        empty=empty,
        rows=rows,
        cols=cols,
        patch=patch,
        largest_channel=int(ids.max()),
    )


def round_length(tokens: int) -> int:
    """Return the next of 16 sizes in every doubling, at most 1/16 above `tokens`."""
    step = max(1, 2 ** (tokens.bit_length() - 5))
    return -(-tokens // step) * step


def _decoded(visible, crop, first_visible, first_hidden, positions) -> Tensor:
    """Return `Packed.decoded`, given the crop of each channel and where kinds of tokens start."""
    summary = crop[:, None] * positions + torch.arange(positions)
    own = (first_hidden + torch.arange(len(crop))).repeat_interleave(positions)
    own[visible] = first_visible + torch.arange(len(visible))
    return torch.cat([summary, own.view(-1, positions)], dim=1)


def _check_finite(pixels, counts) -> None:
    # One pass for the batch, as this runs in every step; crop by crop only to name it.
    if all(limit.isfinite() for limit in pixels.aminmax()):
        return
    for i, image in enumerate(pixels.split(counts)):
        bad = ~image.isfinite()
        if bad.any():
            raise ValueError(
                f"crop {i} has {int(bad.sum())} pixels that are NaN or infinite, the first of them "
                f"in its channel {int(bad.flatten(1).any(1).nonzero()[0])}."
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
        if image.ndim == 3 and not len(image):
            raise ValueError(f"crop {i} has no channels; a crop needs at least one.")
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
