"""Time and memory of the model at paper scale beside the plain model of the same weights.

    python -m benchmarks.core_step [--repeats 3] [--quick]

One crop of 40 channels and 128 px: a training step (forward, loss, backward, AdamW) under the
training's masks, and the encoder with nothing hidden. The plain model is the one of the tests: it
pads inside attention and decodes every token of every channel in every block, all at once. Each
has a process of its own, so that its peak is its own; they run in turn, so that a busy moment of
the machine hits all, and the median counts. On a GPU the same with 8 crops in bfloat16, ours also
compiled; `benchmarks.gpu` has more. Appends to the table, but for `--quick`, a tiny model that
shows that all of it runs.
"""

import argparse
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context

import torch

from benchmarks.common import append
from tests.unit.core import plain
from virtues_core import VirTues, VirTuesConfig, independent_mask, loss_backward, pack

PAPER = {"crops": 1, "channels": 40, "side": 128, "model": {}}
ON_GPU = PAPER | {"crops": 8}
QUICK = {"crops": 2, "channels": 4, "side": 32}
QUICK["model"] = {"width": 64, "feedforward": 128, "encoder": "hv", "decoder": "ff"}
OURS = ("ours", "compiled")
prepared = {}  # of this process
TARGETS = {("step", "time"): "<= 0.8", ("step", "peak"): "<= 0.35"}
TARGETS |= {("encoder", "time"): "<= 0.8", ("summaries", "time"): "<= 0.8"}
# The plain model returns the same tokens for both.
ENCODERS = {"encoder": "encode", "summaries": "encode_summaries"}


def make_batch(case, masked, round_up=False):
    generator = torch.Generator().manual_seed(0)
    shape, grid = (case["channels"], case["side"], case["side"]), (case["side"] // 8,) * 2
    images = [torch.randn(shape, generator=generator) for _ in range(case["crops"])]
    ids = [torch.arange(case["channels"])] * case["crops"]
    masks = [independent_mask(len(i), grid, generator=generator) if masked else None for i in ids]
    return pack(images, ids, masks, round_up=round_up)


def make_work(task, who, model, batch, attend=None):
    """Return the function to measure; `attend` is that of the plain model (tests/unit/core).

    On a GPU forward passes are in bfloat16.
    """
    ours, device = who in OURS, batch.images.device.type
    half = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")
    if task in ENCODERS:
        encode = getattr(model, ENCODERS[task])
        encode = encode if ours else lambda batch: plain.tokens(model, batch, attend)
        return torch.inference_mode()(half(lambda: encode(batch)))

    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-4, fused=True)
    pixels = batch.images.numel()

    def step():
        optimiser.zero_grad()
        if ours:
            with half:
                loss_backward(model, batch, scale=1 / pixels)
        else:
            with half:
                error = plain.squared_error_sum(model, batch, attend)
            (error / pixels).backward()
        optimiser.step()

    return step


def build(task, who, case, attend=None):
    """Return the function to measure, in bfloat16 on a GPU, with a model and a batch of its own."""
    torch.manual_seed(0)
    device = case["device"]
    config = VirTuesConfig(**case["model"])
    model = VirTues(config, torch.randn(case["channels"], config.marker_width)).to(device)
    if who == "compiled":
        model.compile_blocks()
    masked = task == "step"  # with nothing hidden all batches have one size
    round_up = device == "cuda" and who in OURS and masked
    batch = make_batch(case, masked, round_up).to(device)
    return make_work(task, who, model, batch, attend)


def prepare(task, who, case):
    """Build what is measured in this process, and run it once to warm up."""
    gpu, work = case["device"] == "cuda", build(task, who, case)

    def timed():
        start, processor = time.perf_counter(), time.process_time()
        work()
        if gpu:
            torch.cuda.synchronize()
        found = {"time": time.perf_counter() - start}
        return found if gpu else found | {"processor time": time.process_time() - processor}

    prepared["timed"] = timed
    timed()


def run_once():
    """Return the seconds of one call of what `prepare` built."""
    return prepared["timed"]()


def peak_memory():
    """Return the peak of this process in GB: resident set, or on a GPU what PyTorch allocated."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(task, candidates, case, repeats):
    """Return median times in s and peak memory in GB of each candidate, called in turn."""
    with ExitStack() as stack:
        spawn = get_context("spawn")
        pools = {
            who: stack.enter_context(ProcessPoolExecutor(1, mp_context=spawn)) for who in candidates
        }
        for who, pool in pools.items():
            pool.submit(prepare, task, who, case).result()
        times = {who: [] for who in pools}
        for _ in range(repeats):
            for who, pool in pools.items():
                times[who].append(pool.submit(run_once).result())
        peaks = {who: pool.submit(peak_memory).result() for who, pool in pools.items()}
    return {
        who: {kind: statistics.median(t[kind] for t in times[who]) for kind in times[who][0]}
        | {"peak": peaks[who]}
        for who in times
    }


def compare(case, candidates, repeats):
    """Return rows of the table: each candidate against the plain model, for both tasks."""
    crops = f"{case['crops']} x {case['channels']} x {case['side']} px"
    names = {"step": "training step, masked", "encoder": "encoder, nothing hidden"}
    rows = []
    for task, name in names.items():
        found = measure(task, ["plain", *candidates], case, repeats)
        for who in candidates:
            for metric, value in found[who].items():
                row = {"case": f"{name}, {crops}, {case['device']}, {who}; baseline plain model"}
                row |= {"metric": metric, "unit": "GB" if metric == "peak" else "s", "value": value}
                row |= {"baseline": found["plain"][metric]}
                rows.append(row | {"target": TARGETS.get((task, metric), "")})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()

    runs = [((QUICK if args.quick else PAPER) | {"device": "cpu"}, ["ours"], None)]
    if torch.cuda.is_available():
        case = (QUICK if args.quick else ON_GPU) | {"device": "cuda"}
        runs.append((case, ["ours", "compiled"], torch.cuda.get_device_name()))
    else:
        print("no GPU: its rows, and the compiled model, are skipped")
    for case, candidates, hardware in runs:
        rows = compare(case, candidates, args.repeats)
        if args.quick:
            for row in rows:
                print(row["case"], row["metric"], f"{row['value']:.3g}", f"{row['baseline']:.3g}")
        else:
            append("core_step", rows, ["torch"], hardware)


if __name__ == "__main__":
    main()
