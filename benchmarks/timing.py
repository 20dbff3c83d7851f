"""How a GPU is measured: functions timed in turn, ceilings, peaks, and the batch that fits.

All of it runs on a CPU too, so that it can be tried and tested without a GPU.
"""

import gc
import resource
import statistics
import time
from dataclasses import dataclass

import torch
from scipy.stats import linregress

from virtues_core.attention import missing

LEAST = 5  # repeats, however long one takes


class Unfit(Exception):
    """A machine that cannot be measured; the text is one sentence on what it lacks."""


@dataclass(frozen=True)
class Device:
    """Where things are measured: "cuda" or "cpu", its name and its memory in bytes."""

    kind: str
    name: str
    memory: int


def find_gpu():
    """Return the GPU as a Device; raises Unfit where there is none, or one without bfloat16."""
    needed = f"compute capability {missing.dotted(missing.CAPABILITY)} or later"
    if not torch.cuda.is_available():
        raise Unfit(
            f"benchmarks.gpu needs a CUDA GPU with bfloat16 ({needed}), a CUDA build of torch and "
            f"triton {missing.dotted(missing.TRITON)} or later; torch {torch.__version__} sees no "
            "GPU here, so nothing is measured and nothing is written."
        )
    properties = torch.cuda.get_device_properties(0)
    found = torch.cuda.get_device_capability()
    if found < missing.CAPABILITY:
        raise Unfit(
            f"{properties.name} has compute capability {missing.dotted(found)} and no bfloat16; "
            f"benchmarks.gpu needs {needed}; a training runs there with pretrain.precision: fp16 "
            "and the backend sdpa."
        )
    return Device("cuda", properties.name, properties.total_memory)


def seconds(functions, kind, repeats=50, warmup=3, limit=20.0, ahead=False):
    """Return the times in seconds of each of `functions`, called in turn with their turn's number.

    In turn, so that a busy moment hits all. Fewer than `repeats`, but no fewer than LEAST, once
    `limit` seconds are used up. `ahead` lets a GPU wait until the host has sent its work, so that
    the time is that of kernels alone.
    """
    times = [[] for _ in functions]
    begun = time.perf_counter()
    for turn in range(warmup + repeats):
        for place, function in enumerate(functions):
            taken = _one(function, turn, kind, ahead)
            if turn >= warmup:
                times[place].append(taken)
        if len(times[0]) >= LEAST and time.perf_counter() - begun > limit:
            break
    return times


def _one(function, turn, kind, ahead):
    if kind != "cuda":
        start = time.perf_counter()
        function(turn)
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    if ahead:
        torch.cuda._sleep(10**7)  # cycles, some milliseconds
    begin.record()
    function(turn)
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def time_rows(case, times, baseline=None, target=""):
    """Return the rows p20, p50 and p80 of `times`; p50 beside that of the times `baseline`."""
    tenths = statistics.quantiles(times, n=10)
    percentiles = {"p20": tenths[1], "p50": tenths[4], "p80": tenths[7]}
    rows = [
        {"case": case, "metric": metric, "unit": "s", "value": value}
        for metric, value in percentiles.items()
    ]
    if baseline is not None:
        rows[1] |= {"baseline": statistics.median(baseline), "target": target}
    return rows


def copy_bandwidth(kind, numbers=2**29):
    """Return the bytes a second, read and written, of a copy of float32 within the memory."""
    source = torch.randn(numbers, device=kind)
    target = torch.empty_like(source)
    (times,) = seconds([lambda turn: target.copy_(source)], kind, limit=5, ahead=True)
    return 2 * source.nbytes / statistics.median(times)


def matrix_rate(kind, side=8192):
    """Return the operations a second of a product of square matrices in bfloat16."""
    a, b = torch.randn(2, side, side, device=kind, dtype=torch.bfloat16)
    (times,) = seconds([lambda turn: a @ b], kind, limit=5, ahead=True)
    return 2 * side**3 / statistics.median(times)


def line(x, y):
    """Return slope, intercept and R squared of the straight line through points."""
    fit = linregress(x, y)
    level = min(y) == max(y)  # which leaves nothing to explain
    return fit.slope, fit.intercept, 1.0 if level else fit.rvalue**2


def peak(function, kind):
    """Return the peak memory in bytes of a call: what PyTorch allocated, or the resident set.

    It is called twice, as a first step makes the optimiser's moments.
    """
    function()
    if kind != "cuda":
        function()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    give_memory_back()
    torch.cuda.reset_peak_memory_stats()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def give_memory_back():
    """Free what nothing holds any more; compiled blocks and their model hold each other."""
    gc.collect()
    torch.cuda.empty_cache()


def fitting(crops, attempt, device, who):
    """Return the largest of `crops`, half of them, ... with which `attempt` has memory enough.

    Also returns what it gave. Says in one sentence what did not fit and what does; raises Unfit
    when not even one crop does.
    """
    wanted = crops
    while crops:
        try:
            result = attempt(crops)
            break
        except torch.OutOfMemoryError:
            pass
        # Out of the block: what failed holds its memory as long as its exception lives.
        give_memory_back()
        crops //= 2
    if crops == wanted:
        return crops, result
    if crops:
        print(
            f"{who}: {wanted} crops do not fit the {device.memory / 1e9:.0f} GB of {device.name}; "
            f"the batch that fits is {crops}."
        )
        return crops, result
    raise Unfit(
        f"{who}: not even one crop fits the {device.memory / 1e9:.0f} GB of {device.name}; take a "
        "GPU with more free memory."
    )
