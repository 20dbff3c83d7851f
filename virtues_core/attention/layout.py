"""How packed tokens form attention sequences, planned once for a batch on the CPU.

A backend takes from a `Layout` what it needs: offsets for kernels over packed sequences, slots
and buckets for dense kernels, which see sequences of similar length padded to one length, and
tiles for the kernel that computes many short sequences as one masked product.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from virtues_core.records import TensorRecord

# Tokens of a tile; a longer sequence goes to another backend. The larger tile takes twice the
# products for each token and leaves a GPU room for fewer at a time: for sequences that need it.
TILES = (64, 128)
# Where fewer tokens are in short sequences, to set the long ones apart costs more than tiles spare.
FEW = 0.5


@dataclass(frozen=True)
class Bucket(TensorRecord):
    """Sequences that a dense kernel computes together, padded to `length` slots each."""

    sequences: int
    length: int
    real: Tensor | None  # bool [sequences, 1, 1, length], False = padding; None: no padding


@dataclass(frozen=True)
class Tiles(TensorRecord):
    """Whole sequences, binned greedily and in order into tiles of one size."""

    tokens: Tensor  # int32 [tiles, size], the packed token in each slot; -1 = padding
    sequences: Tensor  # int32 [tiles, size], the sequence that it belongs to; -1 = padding
    long: "Layout | None"  # the sequences longer than any tile; None: there are none
    long_tokens: Tensor | None  # int64 [L], their packed tokens, sequence by sequence


@dataclass(frozen=True)
class Layout(TensorRecord):
    """The attention sequences of N packed tokens; every token is in exactly one."""

    order: Tensor | None  # int64 [N], tokens sequence by sequence; None: packed in that order
    offsets: Tensor  # int32 [sequences + 1], where each sequence starts in that order
    max_length: int
    slots: Tensor | None  # int64 [N], slot of each packed token; None: 0, 1, 2, ... and no padding
    buckets: tuple[Bucket, ...]
    tiles: Tiles | None  # None: no sequence fits a tile, or too few do

    @property
    def padded(self) -> int:
        """Slots of all buckets together."""
        return sum(bucket.sequences * bucket.length for bucket in self.buckets)


def plan_layout(lengths: Tensor, order: Tensor | None = None) -> Layout:
    """Plan sequences of the given lengths, int64 [sequences] and all at least 1.

    `order` lists the packed tokens sequence by sequence, int64 [N]; leave it out when they are
    packed in that order.
    """
    starts = lengths.cumsum(0) - lengths
    slots, buckets = _plan_buckets(lengths, starts)
    if order is not None:
        slots = torch.empty_like(slots).index_copy_(0, order, slots)
    # The last sequence may be followed by padding although all tokens are in order.
    filled = all(bucket.real is None for bucket in buckets)
    return Layout(
        order=order,
        offsets=torch.cat([starts, lengths.sum()[None]]).int(),
        max_length=int(lengths.max()),
        slots=None if filled and torch.equal(slots, torch.arange(len(slots))) else slots,
        buckets=buckets,
        tiles=_plan_tiles(lengths, order),
    )


def _plan_buckets(lengths: Tensor, starts: Tensor) -> tuple[Tensor, tuple[Bucket, ...]]:
    """Return the slot of each token in sequence order, int64 [N], and the buckets."""
    sizes = _bucket_size(lengths)
    base = torch.empty_like(lengths)  # the first slot of each sequence
    buckets, used = [], 0
    for size in sizes.unique().tolist():
        members = (sizes == size).nonzero().squeeze(1)
        length = int(lengths[members].max())
        real = torch.arange(length) < lengths[members, None]
        base[members] = used + length * torch.arange(len(members))
        buckets.append(Bucket(len(members), length, None if real.all() else real[:, None, None]))
        used += len(members) * length
    slots = torch.arange(int(lengths.sum())) + (base - starts).repeat_interleave(lengths)
    return slots, tuple(buckets)


def _bucket_size(lengths: Tensor) -> Tensor:
    """Round lengths up by at most a quarter, or to a multiple of 4; equal sizes share a bucket."""
    step = 2 ** (lengths.double().log2().floor() - 2).clamp(min=2).long()
    return (lengths + step - 1) // step * step


def _plan_tiles(lengths: Tensor, order: Tensor | None) -> Tiles | None:
    short = lengths <= TILES[-1]
    if lengths[short].sum() < FEW * lengths.sum():
        return None
    count = lengths.numpy()
    order = np.arange(count.sum()) if order is None else order.numpy()
    sequence = np.repeat(np.arange(len(count)), count)
    long = long_tokens = None
    if not short.all():
        long = plan_layout(lengths[~short])
        is_short = short.numpy()[sequence]
        long_tokens = torch.from_numpy(order[~is_short])
        order, sequence, count = order[is_short], sequence[is_short], count[short.numpy()]
    size = next(size for size in TILES if size >= count.max())
    begins = _begins(np.concatenate([[0], count.cumsum()]), size)
    fill = np.diff(begins, append=len(order))
    slots = np.arange(len(order)) + np.repeat(size * np.arange(len(begins)) - begins, fill)
    filled = np.full((2, len(begins) * size), -1, dtype=np.int32)
    filled[0][slots] = order
    filled[1][slots] = sequence
    return Tiles(*torch.from_numpy(filled).view(2, -1, size), long, long_tokens)


def _begins(offsets: np.ndarray, size: int) -> np.ndarray:
    """Return where each tile begins among the tokens in sequence order."""
    # Only the step from tile to tile has to wait for the one before.
    following = (np.searchsorted(offsets, offsets[:-1] + size, side="right") - 1).tolist()
    firsts, sequence = [], 0
    while sequence < len(following):
        firsts.append(sequence)
        sequence = following[sequence]
    return offsets[firsts]
