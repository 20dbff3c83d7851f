"""Marker attention of a training step, forward and backward, by every backend on a GPU.

    python -m benchmarks.attention

64 crops of 35 channels with 80 % of the patches hidden, 8 heads of 64, bfloat16. The ceiling is a
copy within the device's memory, measured in the same run; "share" is the bytes that attention has
to move at least, over the time, over that ceiling. Without a GPU nothing is measured.
"""

import statistics

import torch

from benchmarks.common import append
from benchmarks.timing import copy_bandwidth, seconds, time_rows
from virtues_core import pack
from virtues_core.attention import api, attend_packed, plan_layout

PAPER = {"crops": 64, "channels": 35, "side": 128, "hidden": 0.8, "heads": 8, "head_width": 64}
DTYPE = torch.bfloat16
BACKENDS = ("triton", "flash", "sdpa")
IN_ORDER = "flash on tokens in order"
SETS = 4  # of inputs, taken in turn, so that no cache holds the next one
# Forward reads q, k, v and writes the result; backward reads these three and the gradient of the
# result and writes three gradients.
PASSES = 4 + 7


def make_layout(case):
    """Return the marker attention layout of one batch, on the CPU."""
    generator = torch.Generator().manual_seed(0)
    channels, side = case["channels"], case["side"]
    grid = (channels, side // 8, side // 8)
    images = [torch.zeros(channels, side, side)] * case["crops"]
    masks = [torch.rand(grid, generator=generator) < case["hidden"] for _ in images]
    return pack(images, [torch.arange(channels)] * len(images), masks).marker_attention


def lacking(device_type, head_width=PAPER["head_width"], dtype=DTYPE):
    """Return what each backend lacks on the device, None for nothing."""
    return {name: api.BACKENDS[name].missing(device_type, dtype, head_width) for name in BACKENDS}


def in_turn(backend, inputs, layout, directions):
    def forward_and_backward(turn):
        one, direction = inputs[turn % len(inputs)], directions[turn % len(inputs)]
        torch.autograd.grad(attend_packed(*one, layout, backend), one, direction)

    return forward_and_backward


def measure(backends, device_type, bandwidth, case=PAPER, repeats=100):
    """Return the rows of the table.

    `bandwidth`: bytes a second of a copy. The baseline, where there is one, is FlashAttention on
    tokens that lie in the order of their sequences already: the kernel alone. In the model they do
    not, and "flash" brings them into that order and back.
    """
    layout = make_layout(case)
    in_order = plan_layout(layout.offsets.diff().long()).to(device_type)
    layout = layout.to(device_type)
    tokens = int(layout.offsets[-1])
    shape = (tokens, case["heads"], case["head_width"])
    made = [
        [torch.randn(shape, device=device_type, dtype=DTYPE) for _ in range(4)] for _ in range(SETS)
    ]
    inputs = [[x.requires_grad_() for x in qkv] for *qkv, _ in made]
    directions = [direction for *_, direction in made]
    functions = [in_turn(name, inputs, layout, directions) for name in backends]
    names = list(backends)
    if "flash" in backends:
        names.append(IN_ORDER)
        functions.append(in_turn("flash", inputs, in_order, directions))
    times = dict(zip(names, seconds(functions, device_type, repeats, ahead=True), strict=True))
    moved = PASSES * inputs[0][0].nbytes
    words = f"{case['crops']} crops x {case['channels']} channels, {case['hidden']:.0%} hidden"
    words = f"marker attention, forward and backward, {words}, {tokens} tokens, bf16"
    rows = []
    for name, own in times.items():
        beside = times.get(IN_ORDER) if name != IN_ORDER else None
        where = f"{words}, {name}" + (f"; baseline {IN_ORDER}" if beside else "")
        ours = name == "triton"
        rows += time_rows(where, own, beside, "<= 0.2" if ours else "")
        share = {"case": where, "metric": "share of copy bandwidth", "unit": ""}
        share |= {"value": moved / statistics.median(own) / bandwidth}
        rows.append(share | {"target": "value >= 0.6" if ours else ""})
    return rows


def main():
    device_type = "cuda" if torch.cuda.is_available() else "cpu"
    lacks = lacking(device_type)
    for name, lack in lacks.items():
        if lack is not None:
            print(f"{name} skipped: {lack}")
    if device_type == "cpu":
        print("nothing measured and nothing written: the times of a CPU say nothing of a GPU")
        return
    bandwidth = copy_bandwidth(device_type)
    rows = [{"case": "copy", "metric": "bandwidth", "unit": "GB/s", "value": bandwidth / 1e9}]
    rows += measure([name for name, lack in lacks.items() if lack is None], device_type, bandwidth)
    append("attention", rows, ["torch", "triton", "flash-attn"], torch.cuda.get_device_name())


if __name__ == "__main__":
    main()
