"""Marker attention of a training step, forward and backward, by every backend on a GPU.

    python -m benchmarks.attention

64 crops of 35 channels with 80 % of the patches hidden, 8 heads of 64, bfloat16. The ceiling is a
copy within the device's memory, measured in the same run; "share" is the bytes that attention has
to move at least, over the time, over that ceiling. Without a GPU nothing is measured.
"""

import statistics

import torch

from benchmarks.common import append
from virtues_core import pack
from virtues_core.attention import api, attend_packed

CROPS, CHANNELS, SIDE, HIDDEN, HEADS, HEAD_WIDTH = 64, 35, 128, 0.8, 8, 64
DTYPE = torch.bfloat16
BACKENDS = ("triton", "flash", "sdpa")
SETS = 4  # of inputs, taken in turn, so that no cache holds the next one
# Forward reads q, k, v and writes the result; backward reads these three and the gradient of the
# result and writes three gradients.
PASSES = 4 + 7


def make_layout():
    """Return the marker attention layout of one batch, on the CPU."""
    generator = torch.Generator().manual_seed(0)
    grid = (CHANNELS, SIDE // 8, SIDE // 8)
    images = [torch.zeros(CHANNELS, SIDE, SIDE)] * CROPS
    channels = [torch.arange(CHANNELS)] * CROPS
    masks = [torch.rand(grid, generator=generator) < HIDDEN for _ in range(CROPS)]
    return pack(images, channels, masks).marker_attention


def lacking(device_type):
    """Return what each backend lacks on the device, None for nothing."""
    return {name: api.BACKENDS[name].missing(device_type, DTYPE, HEAD_WIDTH) for name in BACKENDS}


def seconds(functions, repeats=100, warmup=10):
    """Return the times of each function on the GPU, which are called in turn."""
    times = [[] for _ in functions]
    for repeat in range(warmup + repeats):
        for place, function in enumerate(functions):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            function(repeat % SETS)
            end.record()
            end.synchronize()
            if repeat >= warmup:
                times[place].append(begin.elapsed_time(end) / 1e3)
    return times


def in_turn(backend, inputs, layout, directions):
    def forward_and_backward(i):
        out = attend_packed(*inputs[i], layout, backend)
        torch.autograd.grad(out, inputs[i], directions[i])

    return forward_and_backward


def measure(backends):
    """Return the rows of the table."""
    layout = make_layout().to("cuda")
    shape = (int(layout.offsets[-1]), HEADS, HEAD_WIDTH)
    made = [[torch.randn(shape, device="cuda", dtype=DTYPE) for _ in range(4)] for _ in range(SETS)]
    inputs = [[x.requires_grad_() for x in qkv] for *qkv, _ in made]
    directions = [direction for *_, direction in made]
    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)

    functions = [in_turn(name, inputs, layout, directions) for name in backends]
    *ours, copies = seconds([*functions, lambda i: target.copy_(source)])
    bandwidth = 2 * source.nbytes / statistics.median(copies)
    bytes_moved = PASSES * inputs[0][0].nbytes
    case = f"{CROPS} crops x {CHANNELS} channels, {HIDDEN:.0%} hidden, {shape[0]} tokens, bf16"
    rows = [{"case": "copy", "metric": "bandwidth", "unit": "GB/s", "value": bandwidth / 1e9}]
    for name, times in zip(backends, ours, strict=True):
        share = bytes_moved / statistics.median(times) / bandwidth
        rows.append({"case": f"{case}, {name}", "metric": "share of copy bandwidth", "unit": ""})
        rows[-1]["value"] = share
        tenths = statistics.quantiles(times, n=10)
        for metric, value in (("p20", tenths[1]), ("p50", tenths[4]), ("p80", tenths[7])):
            rows.append({"case": f"{case}, {name}", "metric": metric, "unit": "s", "value": value})
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
    rows = measure([name for name, lack in lacks.items() if lack is None])
    append("attention", rows, ["torch", "triton", "flash-attn"], torch.cuda.get_device_name())


if __name__ == "__main__":
    main()
