"""What `benchmarks.gpu` checks and times, section by section; each returns rows of the table."""

import shutil
import statistics
from dataclasses import dataclass, field
from functools import partial

import torch

from benchmarks import attention, checks, curves
from benchmarks.core_step import PAPER as PAPER_CROP
from benchmarks.core_step import QUICK, build, make_batch
from benchmarks.counts import step_parts
from benchmarks.timing import (
    Device,
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

PAPER = {
    "step": PAPER_CROP | {"crops": 64},
    "attention": attention.PAPER,
    "copy": 2**29,
    "matrix": 8192,
    "repeats": 50,
    "counts": (10, 20, 30, 40, 50, 60),
    "counted_crops": 8,
    "long": 1024,
    "steps": 500,
    "lengths": tuple(checks.LENGTHS),
    "seeds": (0, 1, 2),
}
# The same with a tiny model, which shows on any machine that all of it runs.
TINY = {
    "step": QUICK,
    "attention": {"crops": 2, "channels": 5, "side": 32, "hidden": 0.8, "heads": 2}
    | {"head_width": 16},
    "copy": 2**12,
    "matrix": 64,
    "repeats": 5,
    "counts": (2, 4, 6),
    "counted_crops": 1,
    "long": 140,
    "steps": 4,
    "lengths": ("two", "long among short"),
    "seeds": (0,),
}
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Bench:
    """One run: the device, the sizes, the backends that can run, and what was found on the way."""

    device: Device
    sizes: dict
    backends: list
    bandwidth: float = 0.0
    rate: float = 0.0
    failures: list = field(default_factory=list)

    @property
    def kind(self):
        """Return "cuda" or "cpu"."""
        return self.device.kind

    @property
    def varlen(self):
        """Return the backend of the paper's scheme: FlashAttention, on a CPU PyTorch's own."""
        return "flash" if self.kind == "cuda" else "sdpa"

    def judged(self, row, bound, where):
        """Return a row of a check, and remember it in words if its value is beyond `bound`."""
        if not row["value"] <= bound:
            self.failures.append(f"{row['case']}: {row['metric']} is {row['value']:.3g}, {where}")
        return row | {"target": f"value <= {bound}"}


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


def check_kernels(bench):
    """Check every backend in both half precisions, ragged lengths, forward and all gradients."""
    rows = []
    for backend in bench.backends:
        for name, dtype in HALF.items():
            case = f"attention, {backend}, {name}"
            value, where = checks.excess(backend, bench.kind, dtype, bench.sizes["lengths"])
            row = {"case": case, "metric": "error over that of plain attention", "value": value}
            rows.append(bench.judged(row, 2, f"at {where}"))
            same = checks.repeats_itself(backend, bench.kind, dtype)
            row = {"case": case, "metric": "runs that differ", "value": float(not same)}
            rows.append(bench.judged(row, 0, "under deterministic algorithms"))
    return rows


def check_models(bench):
    """Check the whole model likewise against its plain version; compiled too, if that can be."""
    rows = []
    runs = [(backend, name, False) for backend in bench.backends for name in HALF]
    if bench.kind == "cuda" and compiler():
        runs.append(("auto", "bf16", True))
    for backend, name, compiled in runs:
        dtype = HALF[name]
        case = f"model, {backend}{', compiled' if compiled else ''}, {name}"
        seeds = bench.sizes["seeds"]
        value, where = checks.model_excess(backend, bench.kind, dtype, seeds, compiled)
        row = {"case": case, "metric": "error over that of the plain model", "value": value}
        rows.append(bench.judged(row, 2, f"in the gradient of {where}"))
        if not compiled:
            same = checks.model_repeats_itself(backend, bench.kind, dtype)
            row = {"case": case, "metric": "runs that differ", "value": float(not same)}
            rows.append(bench.judged(row, 0, "under deterministic algorithms"))
    return rows


def compiler():
    """Tell whether blocks can be compiled here; says so if not."""
    if shutil.which("gcc") or shutil.which("clang"):
        return True
    print("compiled blocks are left out: a C compiler (gcc or clang) is missing.")
    return False


def other_heads(bench):
    """Attend with heads that the kernel does not take: another backend does, and logs why."""
    width = 160
    qkv, layout = checks.make([5, 70, 2], bench.kind, torch.bfloat16, head_width=width)
    out = attend_packed(*qkv.unbind(1), layout, "auto")
    expected = attend_packed(*qkv.unbind(1), layout, "reference")
    error = (out - expected).abs().max().item() / expected.abs().max().item()
    row = {"case": f"attention, heads of {width}, bf16, auto", "metric": "relative error"}
    bound = 4 * torch.finfo(torch.bfloat16).eps
    return [bench.judged(row | {"value": error}, bound, "beside the reference")]


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
        attempt = partial(once, who)
        fits[who], peaks[who] = fitting(case["crops"], attempt, bench.device, f"{what}, {who}")
    crops = min(fits.values())
    if crops < max(fits.values()):
        peaks |= {who: once(who, crops) for who in names if fits[who] != crops}
    case |= {"crops": crops}
    words = f"{what}, {crops} x {case['channels']} x {case['side']} px, bf16"
    functions = [build(task, who, case, attend) for who in names]
    calls = [lambda turn, function=function: function() for function in functions]
    times = dict(zip(names, seconds(calls, bench.kind, bench.sizes["repeats"]), strict=True))
    targets = {"step": "<= 0.5", "encoder": "<= 0.667"}
    rows = time_rows(f"{words}, the paper's scheme", times["paper"])
    for who in names[1:]:
        named = f"{words}, {who}; baseline the paper's scheme"
        # What is meant to be used is held to the figures: compiled where that is possible.
        held = who == names[-1]
        rows += time_rows(named, times[who], times["paper"], targets[task] if held else "")
        row = {"case": named, "metric": "peak", "unit": "GB", "value": peaks[who] / 1e9}
        row |= {"baseline": peaks["paper"] / 1e9}
        rows.append(row | {"target": "<= 0.6" if task == "step" and held else ""})
        middle = statistics.median(times[who])
        rows.append({"case": named, "metric": "rate", "unit": "crops/s", "value": crops / middle})
        if task == "step":
            flops = operations(case)
            share = {"case": named, "metric": "share of the bf16 matrix rate", "unit": ""}
            share |= {"value": flops / middle / bench.rate}
            rows.append(share | {"target": "value >= 0.4" if held else ""})
    return rows


def operations(case):
    """Return the floating-point operations of our step, those that are saved not counted."""
    parts = step_parts(VirTuesConfig(**case["model"]), make_batch(case, masked=True))
    return sum(part.flops for part in parts)


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


def pretraining(bench):
    """Compare the losses of a short pretraining with those in float32 on CPUs."""
    return curves.measure(bench.kind, bench.sizes["steps"])


SECTIONS = {
    "ceilings": ceilings,
    "kernels against float32": check_kernels,
    "marker attention": marker_attention,
    "training step": partial(models, task="step"),
    "models against float32": check_models,
    "encoder": partial(models, task="encoder"),
    "channels": by_channels,
    "long marker sequences": long_sequences,
    "heads of another size": other_heads,
    "pretraining": pretraining,
}
