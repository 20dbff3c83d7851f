"""Build, check and time everything on a GPU, within eight minutes.

    python -m benchmarks.gpu [--dry] [--sections 'training step' encoder]

Kernels are compiled, checked in bf16 and fp16 against float32, and timed: the two ceilings, marker
attention, a training step and the encoder beside the paper's scheme, numbers of channels, marker
sequences of 1,024 tokens, and a short pretraining beside float32 on CPUs. Rows are appended to
benchmarks/results.csv section by section; what fails, or has no time left, is said in a sentence.
Ends with 1 if a check fails or there is no GPU. `--dry` runs all of it with a tiny model, on a CPU
too, and appends nothing.
"""

import argparse
import logging
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from benchmarks import attention, checks, gpu_checks, gpu_times
from benchmarks.common import RESULTS, append, cpu
from benchmarks.gpu_bench import PAPER, TINY, Bench
from benchmarks.timing import Device, Unfit, find_gpu, give_memory_back
from workflow_scripts.common.device import repeat_every_bit

LIMIT = 420  # seconds after which no further section is begun, of the 480 that all may take
# In the order of their worth, as the last may find no time left.
SECTIONS = {
    "ceilings": gpu_times.ceilings,
    "kernels against float32": gpu_checks.check_kernels,
    "marker attention": gpu_times.marker_attention,
    "training step": partial(gpu_times.models, task="step"),
    "parts of a step": gpu_times.by_part,
    "models against float32": gpu_checks.check_models,
    "numbers of the published code": gpu_checks.check_golden,
    "waits": gpu_checks.check_waits,
    "encoder": partial(gpu_times.models, task="encoder"),
    "channels": gpu_times.by_channels,
    "long marker sequences": gpu_times.long_sequences,
    "heads of another size": gpu_checks.other_heads,
    "pretraining": gpu_checks.pretraining,
}
PACKAGES = ["torch", "triton", "flash-attn"]


def usable(kind):
    """Return the backends that can run; one that cannot is named, with what it lacks."""
    lacks = attention.lacking(kind)
    for name, lack in lacks.items():
        if lack is not None:
            print(f"{name} is left out: {lack}.")
    return [name for name, lack in lacks.items() if lack is None]


def running(bench):
    """Return those of the bench's backends that attend at all; what stops another is a failure."""
    found = []
    for name in bench.backends:
        with bench.going_on(f"attention, {name}"):
            qkv, layout = checks.make([5, 41], bench.kind, torch.bfloat16, head_width=64)
            checks.results(checks.by(name), qkv, layout, qkv.dtype)
            found.append(name)
    return found


def run(bench, sections, path, hardware, limit=LIMIT, clock=time.monotonic):
    """Run the sections in turn and append their rows to `path`; returns all rows as written."""
    begun, written, left = clock(), [], list(sections)
    for name, section in sections.items():
        left.remove(name)
        if clock() - begun > limit:
            print(f"{name}: left out, as {limit} s are used up; run it on a faster machine.")
            continue
        print(f"-- {name}, after {clock() - begun:.0f} s", flush=True)
        with bench.going_on(name):
            written += append("gpu", section(bench), PACKAGES, hardware, path)
        if bench.kind == "cuda" and not gpu_answers():
            names = " ".join(f"'{other}'" for other in left)
            rest = f"; for what is left start python -m benchmarks.gpu --sections {names}"
            said = f"{name}: the GPU takes nothing more from this process"
            bench.failures.append(said + rest * bool(left))
            break
    return written


def gpu_answers():
    """Forget what a section compiled and held; tells whether the GPU still does what it is told."""
    torch._dynamo.reset()
    try:
        torch.cuda.synchronize()
        give_memory_back()
    except RuntimeError:  # after an access to memory that is not there, say, everything fails
        return False
    return True


def hardware_of(device):
    """Return what a row says of the device: the GPU, its memory and CUDA, or the CPU."""
    if device.kind != "cuda":
        return cpu()
    return f"{device.name}, {device.memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="a tiny model, nothing appended")
    parser.add_argument(
        "--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), metavar="NAME"
    )
    asked = parser.parse_args(arguments)
    dry = asked.dry
    # Shares are of the ceilings.
    sections = {n: part for n, part in SECTIONS.items() if n in ("ceilings", *asked.sections)}
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    try:
        device = find_gpu()
    except Unfit as error:
        if not dry:
            sys.exit(str(error))
        print(f"{error} The dry run goes on with a CPU.")
        device = Device("cpu", cpu(), 0)
    repeat_every_bit()  # before cuBLAS starts, which reads a variable; the checks ask for it
    torch.use_deterministic_algorithms(False)
    bench = Bench(device, TINY if dry else PAPER, usable(device.kind))
    bench.backends = running(bench)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "dry.csv" if dry else RESULTS
        run(bench, sections, path, hardware_of(device))
    for failure in bench.failures:
        print(f"FAILED {failure}", file=sys.stderr)
    sys.exit(1 if bench.failures else 0)


if __name__ == "__main__":
    main()
