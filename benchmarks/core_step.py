"""Time and memory of the model at paper scale beside the plain model of the same weights.

    python -m benchmarks.core_step [--repeats 2] [--quick]

One crop of 40 channels and 128 px: a training step (forward, loss, backward, AdamW) under the
training's masks, and the encoder with nothing hidden. The plain model is the one of the tests: it
pads inside attention and decodes every token of every channel in every block, all at once. On a
GPU the same in bfloat16, ours also compiled. Each case has a process of its own, so that its peak
is its own. Appends to the table, but for `--quick`, a tiny model that shows that all of it runs.
"""

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from benchmarks.common import append
from tests.unit.core import plain
from virtues_core import VirTues, VirTuesConfig, independent_mask, loss_backward, pack

PAPER = {"crops": 1, "channels": 40, "side": 128, "model": {}}
ON_GPU = PAPER | {"crops": 8}
QUICK = {"crops": 2, "channels": 4, "side": 32}
QUICK["model"] = {"width": 64, "feedforward": 128, "encoder": "hv", "decoder": "ff"}
TARGETS = {("step", "time"): "<= 0.8", ("step", "peak"): "<= 0.35", ("encoder", "time"): "<= 0.8"}


def make_batch(case, masked):
    generator = torch.Generator().manual_seed(0)
    shape, grid = (case["channels"], case["side"], case["side"]), (case["side"] // 8,) * 2
    images = [torch.randn(shape, generator=generator) for _ in range(case["crops"])]
    ids = [torch.arange(case["channels"])] * case["crops"]
    masks = [independent_mask(len(i), grid, generator=generator) if masked else None for i in ids]
    return pack(images, ids, masks, round_up=case["device"] == "cuda")


def make_work(task, who, model, batch):
    """Return the function to measure."""
    if task == "encoder":
        encode = model.encode if who != "plain" else lambda batch: plain.tokens(model, batch)
        return torch.inference_mode()(lambda: encode(batch))

    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-4, fused=True)
    pixels = batch.images.numel()

    def step():
        optimiser.zero_grad()
        if who == "plain":
            (plain.squared_error_sum(model, batch) / pixels).backward()
        else:
            loss_backward(model, batch, scale=1 / pixels)
        optimiser.step()

    return step


def measure(task, who, case, repeats):
    """Return the shortest time of a call in s, after one to warm up, and the peak memory in GB.

    On the CPU the peak is the process's largest resident set, on a GPU what PyTorch allocated.
    """
    torch.manual_seed(0)
    device, gpu = case["device"], case["device"] == "cuda"
    config = VirTuesConfig(**case["model"])
    model = VirTues(config, torch.randn(case["channels"], config.marker_width)).to(device)
    if who == "compiled":
        model.compile_blocks()
    work = make_work(task, who, model, make_batch(case, masked=task == "step").to(device))
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=gpu):
            work()
        if gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = torch.cuda.max_memory_allocated() / 1e9 if gpu else kilobytes * 1024 / 1e9
    return {"time": min(seconds[1:]), "peak": peak}


def apart(*arguments):
    """Measure in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def compare(case, candidates, repeats):
    """Return rows of the table: each candidate against the plain model, for both tasks."""
    crops = f"{case['crops']} x {case['channels']} x {case['side']} px"
    names = {"step": "training step, masked", "encoder": "encoder, nothing hidden"}
    rows = []
    for task, name in names.items():
        baseline = apart(task, "plain", case, repeats)
        for who in candidates:
            found = apart(task, who, case, repeats)
            for metric, unit in (("time", "s"), ("peak", "GB")):
                row = {"case": f"{name}, {crops}, {case['device']}, {who}; baseline plain model"}
                row |= {"metric": metric, "unit": unit, "value": found[metric]}
                row |= {"baseline": baseline[metric], "target": TARGETS.get((task, metric), "")}
                rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2)
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
