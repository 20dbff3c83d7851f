"""What `benchmarks.gpu` times; each section returns rows of the table."""

import re
import statistics
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import attention, checks
from benchmarks.core_step import build, make_batch
from benchmarks.counts import step_parts
from benchmarks.gpu_bench import compiler
from benchmarks.timing import (
    copy_bandwidth,
    fitting,
    line,
    matrix_rate,
    peak,
    seconds,
    time_rows,
)
from virtues_core import VirTuesConfig
from virtues_core.attention import attend_packed

# What the names of kernels have in common: of our own and of libraries for attention, cuBLAS and
# CUTLASS for products (on a CPU PyTorch's operators); what is between them is the rest.
KINDS = {
    "attention": r"flash|fmha|sdpa|scaled_dot_product|^_(forward|backward)$",
    "products": r"gemm|cutlass|cublas|nvjet|xmma|^aten::(addmm|mm|bmm|matmul|linear)|mkldnn",
    "rest": "",
}


def ceilings(bench):
    """Measure the two ceilings, copy bandwidth and matrix rate."""
    bench.bandwidth = copy_bandwidth(bench.kind, bench.sizes["copy"])
    bench.rate = matrix_rate(bench.kind, bench.sizes["matrix"])
    side = bench.sizes["matrix"]
    return [
        {"case": "copy within the memory, bytes read and written", "metric": "bandwidth"}
        | {"unit": "GB/s", "value": bench.bandwidth / 1e9},
        {"case": f"product of two matrices of {side} x {side}, bf16", "metric": "rate"}
        | {"unit": "TFLOP/s", "value": bench.rate / 1e12},
    ]


def marker_attention(bench):
    """Time marker attention forward and backward by every backend."""
    sizes = bench.sizes
    args = bench.backends, bench.kind, bench.bandwidth
    return attention.measure(*args, sizes["attention"], 2 * sizes["repeats"])


def models(bench, task):
    """Compare ours, and ours compiled, with the paper's scheme: time, share and memory.

    The paper's scheme repacks tokens into one sequence for FlashAttention in every layer, the
    decoder's too, and saves nothing.
    """
    case = bench.sizes["step"] | {"device": bench.kind}
    names = ["paper", "ours"] + (["compiled"] if bench.kind == "cuda" and compiler() else [])
    attend = partial(attend_packed, backend=bench.varlen)
    what = {"step": "training step, 80 % hidden", "encoder": "encoder, nothing hidden"}[task]
    fits, peaks = {}, {}

    def once(who, crops):
        return peak(build(task, who, case | {"crops": crops}, attend), bench.kind)

    for who in names:
        with bench.going_on(f"{what}, {who}"):
            attempt = partial(once, who)
            words = f"{what}, {who}"
            fits[who], peaks[who] = fitting(case["crops"], attempt, bench.device, words)
    names = [who for who in names if who in fits]
    size = f"{case['channels']} x {case['side']} px, bf16"
    rows = []
    for who in names:
        row = {"case": f"{what}, {fits[who]} x {size}, {who}", "metric": "peak where it fits"}
        rows.append(row | {"unit": "GB", "value": peaks[who] / 1e9})

    def side_by_side(crops):
        functions = [build(task, who, case | {"crops": crops}, attend) for who in names]
        calls = [lambda turn, function=function: function() for function in functions]
        return seconds(calls, bench.kind, bench.sizes["repeats"])

    most = min(fits.values())
    crops, times = fitting(most, side_by_side, bench.device, f"{what}, all at once")
    times = dict(zip(names, times, strict=True))
    # Memory is compared with equally many.
    peaks |= {who: once(who, crops) for who in names if fits[who] != crops}
    words = f"{what}, {crops} x {size}"
    flops = operations(case | {"crops": crops})
    targets = {"step": "<= 0.5", "encoder": "<= 0.667"}
    for who in names:
        if who == "paper":
            rows += time_rows(f"{words}, the paper's scheme", times[who])
            continue
        named = f"{words}, {who}; baseline the paper's scheme"
        # What is meant to be used is held to the figures: compiled where that is possible.
        held = who == names[-1]
        rows += time_rows(named, times[who], times.get("paper"), targets[task] if held else "")
        row = {"case": named, "metric": "peak", "unit": "GB", "value": peaks[who] / 1e9}
        row |= {"baseline": peaks["paper"] / 1e9} if "paper" in peaks else {}
        rows.append(row | {"target": "<= 0.6" if task == "step" and held else ""})
        middle = statistics.median(times[who])
        rows.append({"case": named, "metric": "rate", "unit": "crops/s", "value": crops / middle})
        if task == "step":
            share = {"case": named, "metric": "share of the bf16 matrix rate", "unit": ""}
            share |= {"value": flops / middle / bench.rate}
            rows.append(share | {"target": "value >= 0.4" if held else ""})
    return rows


def operations(case):
    """Return the floating-point operations of our step, those that are saved not counted."""
    parts = step_parts(VirTuesConfig(**case["model"]), make_batch(case, masked=True))
    return sum(part.flops for part in parts)


def by_part(bench):
    """Measure where a step's time goes: kernels of three kinds, beside what they take at least."""
    case = bench.sizes["step"] | {"device": bench.kind}
    who = "compiled" if bench.kind == "cuda" and compiler() else "ours"

    def attempt(crops):
        return kernel_seconds(build("step", who, case | {"crops": crops}), bench.kind)

    words = f"training step, {who}"
    crops, taken = fitting(case["crops"], attempt, bench.device, words)
    config, batch = VirTuesConfig(**case["model"]), make_batch(case | {"crops": crops}, True)
    least = dict.fromkeys(KINDS, 0.0)
    for part in step_parts(config, batch):
        floor = max(part.flops / bench.rate, part.bytes / bench.bandwidth)
        least[
            "attention" if "attention" in part.name else "products" if part.flops else "rest"
        ] += floor
    size = f"{crops} x {case['channels']} x {case['side']} px, bf16"
    return [
        {"case": f"{words}, {size}, {kind}; baseline its floor", "metric": "kernels' time"}
        | {"unit": "s", "value": taken[kind], "baseline": least[kind]}
        for kind in KINDS
    ]


def kernel_seconds(step, kind, steps=3):
    """Return the seconds that kernels of each of KINDS take in one of `steps` steps."""
    step()
    activity = ProfilerActivity.CUDA if kind == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiled:
        for _ in range(steps):
            step()
        if kind == "cuda":
            torch.cuda.synchronize()
    taken = dict.fromkeys(KINDS, 0.0)
    for event in profiled.key_averages():
        own = event.self_device_time_total if kind == "cuda" else event.self_cpu_time_total
        if event.device_type.name.lower() == kind:
            taken[kind_of(event.key)] += own / 1e6 / steps
    return taken


def kind_of(kernel):
    """Return the kind of a kernel by its name, on a CPU of an operator of PyTorch."""
    found = (kind for kind, names in KINDS.items() if re.search(names, kernel, re.IGNORECASE))
    return next(found)


def by_channels(bench):
    """Measure step time and memory for several numbers of channels, and fit straight lines."""
    case = bench.sizes["step"] | {"device": bench.kind, "crops": bench.sizes["counted_crops"]}
    counts, rows, found = bench.sizes["counts"], [], {"time": [], "peak": []}
    who = "ours"
    for count in counts:
        step = build("step", who, case | {"channels": count})
        memory = peak(step, bench.kind) / 1e9
        (times,) = seconds([lambda turn, step=step: step()], bench.kind, 10, limit=4)
        words = f"training step, {case['crops']} x {count} x {case['side']} px, bf16, {who}"
        rows += time_rows(words, times)
        rows.append({"case": words, "metric": "peak", "unit": "GB", "value": memory})
        found["time"].append(statistics.median(times))
        found["peak"].append(memory)
        del step
    for (metric, values), unit in zip(found.items(), ("s", "GB"), strict=True):
        slope, start, r2 = line(counts, values)
        words = f"straight line over {counts[0]} to {counts[-1]} channels, {case['crops']} crops"
        for what, value, its in (
            ("a channel", slope, unit),
            ("without channels", start, unit),
            ("R squared", r2, ""),
        ):
            rows.append({"case": words, "metric": f"{metric}, {what}", "unit": its, "value": value})
        rows[-1]["target"] = "value >= 0.99"
    return rows


def long_sequences(bench):
    """Attend in marker sequences that no tile holds, as of a future panel of 1,000 markers."""
    length, heads = bench.sizes["long"], bench.sizes["attention"]["heads"]
    width = bench.sizes["attention"]["head_width"]
    rows = []
    for backend in bench.backends:
        qkv, layout = checks.make([length] * 8, bench.kind, torch.bfloat16, heads, width)
        values = checks.errors(backend, qkv, layout).items()
        value, part = max((checks.over(*three), part) for part, three in values)
        words = f"attention, 8 marker sequences of {length} tokens, {backend}, bf16"
        row = {"case": words, "metric": "error over that of plain attention", "value": value}
        rows.append(bench.judged(row, 2, f"at {part}"))
        inputs = [x.detach().requires_grad_() for x in qkv.unbind(1)]
        run = attention.in_turn(backend, [inputs], layout, [torch.randn_like(inputs[0])])
        (times,) = seconds([run], bench.kind, 20, limit=4)
        rows += time_rows(words, times)
    return rows
