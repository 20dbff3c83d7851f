"""How packed tokens form attention sequences, planned once for a batch on the CPU.

A backend takes from a `Layout` what it needs: offsets for kernels over packed sequences, slots
and buckets for dense kernels, which see sequences of similar length padded to one length.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from virtues_core.records import TensorRecord


@dataclass(frozen=True)
class Bucket(TensorRecord):
    """Sequences that a dense kernel computes together, padded to `length` slots each."""

    sequences: int
    length: int
    real: Tensor | None  # bool [sequences, 1, 1, length], False = padding; None: no padding


@dataclass(frozen=True)
class Layout(TensorRecord):
    """The attention sequences of N packed tokens; every token is in exactly one."""

    order: Tensor | None  # int64 [N], tokens sequence by sequence; None: packed in that order
    offsets: Tensor  # int32 [sequences + 1], where each sequence starts in that order
    max_length: int
    slots: Tensor | None  # int64 [N], slot of each packed token; None: 0, 1, 2, ... and no padding
    buckets: tuple[Bucket, ...]

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
