"""Operations and bytes of a step: against PyTorch's own count, and against its products' sizes."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.counts import DOCUMENT, HALF, filled, paper_batch, per_token, step_parts
from virtues_core import VirTues, VirTuesConfig, independent_mask, loss_backward, pack

SIZES = {"width": 64, "feedforward": 96, "heads": 4, "attention": "reference"}


class Products(TorchDispatchMode):
    """Counts the numbers that products of two matrices, not of their batches, read and write."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.numbers += sum(x.numel() for x in (*args[-2:], out))
        return out


def step(encoder, decoder):
    torch.manual_seed(0)
    config = VirTuesConfig(**SIZES, encoder=encoder, decoder=decoder)
    counts = (7, 4)
    images = [torch.randn(c, 64, 64) for c in counts]
    masks = [independent_mask(c, (8, 8)) for c in counts]
    for mask in masks:
        mask[0] = False  # PyTorch counts no product where a sequence is a single token
    batch = pack(images, [torch.arange(c) for c in counts], masks)
    model = VirTues(config, torch.randn(7, config.marker_width))
    # All channels at once, as a layer's weights are counted once.
    return config, batch, lambda: loss_backward(model, batch, 1.0, 11, recompute=False)


@pytest.mark.parametrize("blocks", [("hvhv", "ffff"), ("hvv", "ff"), ("h", "f")])
def test_operations_are_those_that_pytorch_counts(blocks):
    config, batch, run = step(*blocks)
    with FlopCounterMode(display=False) as counter:
        run()
    assert sum(part.flops for part in step_parts(config, batch)) == counter.get_total_flops()


@pytest.mark.parametrize("blocks", [("hvhv", "ffff"), ("hv", "f")])
def test_bytes_of_layers_are_the_sizes_of_their_matrices(blocks):
    config, batch, run = step(*blocks)
    with Products() as products:
        run()
    layers = [
        part
        for part in step_parts(config, batch)
        if part.flops and not part.name.endswith("attention")
    ]
    assert sum(part.bytes for part in layers) == HALF * products.numbers


def test_attention_moves_what_its_kernels_read_and_write():
    config = VirTuesConfig()
    batch = paper_batch(crops=1, channels=5)
    parts = {part.name: part for part in step_parts(config, batch)}
    one = len(batch.position) * config.width * HALF * config.encoder.count("v")
    assert parts["encoder: marker attention"].bytes == (4 + 7) * one
    shown = 256 - 205  # of 256 positions, a fifth and no more
    assert len(batch.visible) == 5 * shown
    length = batch.marker_attention.offsets.diff().double()
    assert parts["encoder: marker attention"].flops == 12 * 512 * 8 * length.square().sum()


def test_steps_between_products_pass_over_memory_once():
    # Forward: norm, sum and norm, GELU, sum; numbers of the residual stream have 4 bytes.
    forward = 6 * 512 + 12 * 512 + 4 * 1024 + 10 * 512
    backward = 6 * 512 + 6 * 1024 + 16 * 512 + 14 * 512
    assert per_token(512, 1024) == forward + backward


def test_the_document_has_the_table_as_it_is_counted():
    text = DOCUMENT.read_text()
    assert filled(text) == text and "| decoder: attention | 0." in text
