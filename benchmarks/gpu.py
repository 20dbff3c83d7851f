"""Build, check and time everything on a GPU, within eight minutes.

    python -m benchmarks.gpu [--dry]

Kernels are compiled, checked in bf16 and fp16 against float32, and timed: the two ceilings, marker
attention, a training step and the encoder beside the paper's scheme, numbers of channels, marker
sequences of 1,024 tokens, and a short pretraining beside float32 on CPUs. Rows are appended to
benchmarks/results.csv section by section; what fails, or has no time left, is said in a sentence.
Ends with 1 if a check fails or there is no GPU. `--dry` runs all of it with a tiny model, on a CPU
too, and appends nothing.
"""

import argparse
import gc
import logging
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from benchmarks import attention, gpu_checks, gpu_times
from benchmarks.common import RESULTS, append, cpu
from benchmarks.gpu_bench import PAPER, TINY, Bench
from benchmarks.timing import Device, Unfit, find_gpu
from workflow_scripts.common.device import repeat_every_bit

LIMIT = 420  # seconds after which no further section is begun, of the 480 that all may take
# In the order of their worth, as the last may find no time left.
SECTIONS = {
    "ceilings": gpu_times.ceilings,
    "kernels against float32": gpu_checks.check_kernels,
    "marker attention": gpu_times.marker_attention,
    "training step": partial(gpu_times.models, task="step"),
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


def run(bench, sections, path, hardware, limit=LIMIT, clock=time.monotonic):
    """Run the sections in turn and append their rows to `path`; returns all rows as written."""
    begun, written = clock(), []
    for name, section in sections.items():
        if clock() - begun > limit:
            print(f"{name}: left out, as {limit} s are used up; run it on a faster machine.")
            continue
        print(f"-- {name}, after {clock() - begun:.0f} s", flush=True)
        try:
            rows = section(bench)
        except Exception as error:  # the other sections are still worth their time
            bench.failures.append(f"{name}: {in_words(error)}")
            logging.debug("%s failed", name, exc_info=True)
            continue
        finally:
            if bench.kind == "cuda":
                give_memory_back()
        written += append("gpu", rows, PACKAGES, hardware, path)
    return written


def give_memory_back():
    """Forget what a section has compiled, and free what it held on the GPU."""
    torch._dynamo.reset()
    gc.collect()
    torch.cuda.empty_cache()


def in_words(error):
    """Return the first line of an error; a sentence of ours needs no name of its type."""
    text = (str(error).strip().splitlines() or ["no message"])[0]
    return text if isinstance(error, Unfit) else f"{type(error).__name__}: {text}"


def hardware_of(device):
    """Return what a row says of the device: the GPU, its memory and CUDA, or the CPU."""
    if device.kind != "cuda":
        return cpu()
    return f"{device.name}, {device.memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="a tiny model, nothing appended")
    dry = parser.parse_args(arguments).dry
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
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "dry.csv" if dry else RESULTS
        run(bench, SECTIONS, path, hardware_of(device))
    for failure in bench.failures:
        print(f"FAILED {failure}", file=sys.stderr)
    sys.exit(1 if bench.failures else 0)


if __name__ == "__main__":
    main()
