"""Packing orders the tokens as documented and refuses what does not fit."""

from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from virtues_core import pack
from virtues_core.attention import attend_packed
from virtues_core.records import TensorRecord


def test_sequences_hold_the_right_tokens(ragged):
    images, channels, masks = ragged
    batch = pack(images, channels, masks)
    positions, crops = 20, 3
    # What each packed token is: (crop, channel or "summary", position).
    tokens = [(crop, "summary", s) for crop in range(crops) for s in range(positions)]
    for crop, mask in enumerate(masks):
        for channel, position in (~mask.flatten(1)).nonzero().tolist():
            tokens.append((crop, channel, position))
    assert [s for _, _, s in tokens] == batch.position.tolist()

    def sequences(layout):
        order = range(len(tokens)) if layout.order is None else layout.order.tolist()
        ordered = [tokens[i] for i in order]
        offsets = layout.offsets.tolist()
        assert layout.max_length == max(b - a for a, b in zip(offsets, offsets[1:], strict=False))
        return [ordered[a:b] for a, b in zip(offsets, offsets[1:], strict=False)]

    by_channel = sequences(batch.channel_attention)
    assert len(by_channel) == crops + 4 + 1 + 6 - 1  # one channel is hidden altogether
    assert all(len({(crop, channel) for crop, channel, _ in s}) == 1 for s in by_channel)

    by_position = sequences(batch.marker_attention)
    assert len(by_position) == crops * positions
    assert all(len({(crop, position) for crop, _, position in s}) == 1 for s in by_position)
    assert all(s[0][1] == "summary" for s in by_position)
    assert [(2, "summary", 8)] in by_position  # all else is hidden at this position


def test_nothing_is_left_behind_when_moved(ragged):
    def tensors(record):
        if isinstance(record, torch.Tensor):
            return [record]
        parts = vars(record).values() if isinstance(record, TensorRecord) else record
        parts = [p for p in parts if isinstance(p, torch.Tensor | TensorRecord | tuple)]
        return [tensor for part in parts for tensor in tensors(part)]

    batch = pack(*ragged)
    moved = batch.to("meta")
    assert len(tensors(batch)) > 11  # some are in the layouts and in their buckets
    assert len(tensors(batch)) == len(tensors(moved))
    assert all(tensor.is_meta for tensor in tensors(moved))
    assert moved.counts == batch.counts


def test_packing_in_a_worker(ragged, small_model):
    crops = list(zip(*ragged, strict=True))
    loader = DataLoader(
        crops, 3, num_workers=1, collate_fn=lambda items: pack(*zip(*items, strict=True))
    )
    (batch,) = loader
    model = small_model()
    here, there = model(*ragged).all_reconstruction, model(batch).all_reconstruction
    assert here.equal(there)


class Moves(TorchDispatchMode):
    """Collects operations that gather or scatter rows."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name.startswith(("index", "gather", "scatter", "take", "embedding")):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def test_blocks_move_tokens_only_to_change_their_order(small_model, ragged):
    model, batch = small_model(encoder="v"), pack(*ragged)
    block, tokens = model.encoder.blocks[0], torch.randn(len(batch.position), model.config.width)
    with Moves() as seen:
        block(tokens, partial(attend_packed, layout=batch.marker_attention, backend="sdpa"))
    # Queries, keys and values to where the backend wants them, and the result back.
    assert seen.found == 3 * ["index_copy_"] + ["index_select"]
    images, channels, _ = ragged
    batch = pack(images[:1], channels[:1])
    tokens = torch.randn(len(batch.position), model.config.width)
    with Moves() as seen:  # the tokens of a channel lie side by side, and are equally many
        block(tokens, partial(attend_packed, layout=batch.channel_attention, backend="sdpa"))
    assert seen.found == []


def change(which, i, value):
    def edit(images, channels, masks):
        {"images": images, "channels": channels, "masks": masks}[which][i] = value

    return edit


@pytest.mark.parametrize(
    "edit, sentence",
    [
        (lambda i, c, m: i.clear(), "without crops"),
        (lambda i, c, m: m.pop(), "not 3 and 2 for 3 images"),
        (change("images", 1, torch.zeros(32, 40)), r"crop 1 must have the shape \[C, H, W\]"),
        (
            change("images", 1, torch.zeros(0, 32, 40)),
            "crop 1 has no channels; a crop needs at least",
        ),
        (change("images", 2, torch.zeros(6, 32, 32)), "of one size, but crop 2"),
        (change("images", 0, torch.zeros(4, 30, 40)), "crop 0, .* multiples of the patch side 8"),
        (change("channels", 0, torch.arange(3)), "crop 0 has 4 channels, but its channel ids"),
        (change("channels", 1, torch.tensor([-2])), "crop 1 has the channel id -2"),
        (change("masks", 2, torch.zeros(6, 5, 4, dtype=bool)), "the mask of crop 2 must be bool"),
        (change("masks", 2, torch.zeros(6, 4, 5)), "must be bool .*, not torch.float32"),
    ],
)
def test_errors_name_the_crop(ragged, edit, sentence):
    edit(*ragged)
    if not ragged[0] or ragged[0][0].shape[1] == 30:
        ragged[0][1:] = [image[:, :30] for image in ragged[0][1:]]
    with pytest.raises(ValueError, match=sentence):
        pack(*ragged)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_pixels_must_be_finite(ragged, bad):
    images, channels, masks = ragged
    images[2][4, 7, 9] = images[2][5, 0, :2] = bad
    with pytest.raises(ValueError, match="crop 2 has 3 pixels .* NaN or infinite, .* channel 4"):
        pack(images, channels, masks)
