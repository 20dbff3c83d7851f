"""What a training says that it computes, against PyTorch's own count of operations."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from virtues_core import VirTues, VirTuesConfig, independent_mask, pack, squared_error_sum
from workflow_scripts.pretrain.cost import work_of


def counted(encoder, decoder):
    """Return our FLOPs of a step and PyTorch's, for a model of these blocks."""
    torch.manual_seed(0)
    config = VirTuesConfig(
        width=64, feedforward=128, heads=4, encoder=encoder, decoder=decoder, attention="reference"
    )
    counts = (7, 4)
    images = [torch.randn(c, 64, 64) for c in counts]
    masks = [independent_mask(c, (8, 8)) for c in counts]
    packed = pack(images, [torch.arange(c) for c in counts], masks)
    model = VirTues(config, torch.randn(7, config.marker_width))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        squared_error_sum(model(packed), packed)[0].backward()
    work = work_of(config)(packed)
    assert (work.crops, work.tokens) == (2, 11 * 64)
    return work.flops, counter.get_total_flops()


@pytest.mark.parametrize("blocks", [("hvh", "ff"), ("hvv", "ff"), ("hv", "fff")])
def test_one_more_block_costs_what_pytorch_counts(blocks):
    ours, theirs = counted(*blocks)
    # The first and the last block of the decoder compute less than a block as published.
    ours_without, theirs_without = counted("hv", "ff")
    assert ours - ours_without == pytest.approx(theirs - theirs_without, rel=0.01)


def test_a_crop_of_the_full_model_costs_about_one_and_a_half_tflop():
    config = VirTuesConfig()
    masks = [independent_mask(35, (16, 16), generator=torch.Generator().manual_seed(0))]
    packed = pack([torch.zeros(35, 128, 128)], [torch.arange(35)], masks)
    assert 1.2e12 < work_of(config)(packed).flops < 1.8e12
