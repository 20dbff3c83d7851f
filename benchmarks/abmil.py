"""An epoch of gated ABMIL over bags of 4,096 x 512 tokens that stay on disk.

    python -m benchmarks.abmil [--dry] [--busy] [--bags 2000] [--folder /tmp]

All 2,000 bags of an epoch are written (17 GB) and the system is told to forget them, so that the
epoch reads from the disk; its time, and the largest memory of the whole process up to its end,
libraries included, are measured once. The baseline is autograd over batches of bags in memory, on
the first 32 bags, as more of them do not fit; ours is timed on the same bags beside it. One core.
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import zarr

from benchmarks.common import append, best_of, cpu, one_core
from workflow_scripts.common.tokens import TokenStore
from workflow_scripts.patients.abmil import GatedABMIL, add_gradient
from workflow_scripts.patients.abmil_training import Problem, Run
from workflow_scripts.patients.bags import Bags

NICHES, GRID, WIDTH = 16, 16, 512
SETTINGS = {"heads": 8, "hidden": 256, "learning_rate": 1e-4, "batch": 16, "validation": 0.2}
EPOCH, PAIRED = 2000, 32  # bags of an epoch, and of the comparison
BYTES = 4 * NICHES * GRID**2 * WIDTH  # of a bag
KEPT = 500 * 10**6  # bytes of a bag, as in config.yaml


def write_bags(folder, bags, large):
    """Write `bags` bags of 4,096 tokens, and one of `large` times as many called `large`."""
    store, rng = TokenStore(folder), np.random.default_rng(0)
    for bag in range(bags + large):
        tissue = f"t{bag:05d}" if bag < bags else "large"
        tokens = rng.standard_normal((NICHES, GRID, GRID, WIDTH), np.float32)
        rows = [{"tissue_id": tissue, "row": 0, "col": i} for i in range(NICHES)]
        store.append("patch", tokens, rows)
    store.close()


def forget(folder):
    """Have the system drop what it holds of the files in memory."""
    os.sync()
    for path in filter(Path.is_file, Path(folder).rglob("*")):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def new_run(tissues):
    """Return a training that learns from all of `tissues`."""
    labels = {tissue: "ab"[i % 2] for i, tissue in enumerate(tissues)}
    problem = Problem("benchmark", ["a", "b"], labels, {t: t for t in tissues}, tissues, [])
    run = Run(problem, 0, WIDTH, SETTINGS, "cpu")
    run.fit, run._fit = tissues, set(tissues)
    return run


def streamed(bags, tissues):
    """Learn from all tissues once, from disk, as rule classify_tissues does."""
    run = new_run(tissues)
    for tissue, bag in bags.stream(tissues):
        run.learn(tissue, bag)
    return run.model


def in_memory(tokens, tissues):
    """Learn from `tokens` [bags, n, width] once, in batches through autograd."""
    run = new_run(tissues)
    labels = torch.cat([run.label(tissue) for tissue in tissues])
    for start in range(0, len(tissues), SETTINGS["batch"]):
        part = slice(start, start + SETTINGS["batch"])
        attention = run.model.score(tokens[part]).softmax(dim=1)
        pooled = attention.transpose(1, 2) @ tokens[part]
        logits = run.model.classifier(pooled.flatten(1))
        torch.nn.functional.cross_entropy(logits, labels[part]).backward()
        run.optimiser.step()
        run.optimiser.zero_grad()
    return run.model


def peak_mb():
    """Return the largest memory that this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def compare(bags, folder, tissues):
    """Return seconds from disk and in memory over the same bags, whose weights must agree."""
    tokens = zarr.open_array(f"{folder}/patch.zarr")[: len(tissues) * NICHES]
    tokens = torch.from_numpy(tokens).reshape(len(tissues), -1, WIDTH)
    models = streamed(bags, tissues), in_memory(tokens, tissues)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)
    return best_of([lambda: streamed(bags, tissues), lambda: in_memory(tokens, tissues)], repeats=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="append nothing to the table")
    parser.add_argument("--bags", type=int, default=EPOCH)
    parser.add_argument("--large", type=int, default=64, help="size of the large bag, in bags")
    parser.add_argument("--folder", help="where the bags are written for as long as it takes")
    parser.add_argument("--busy", action="store_true", help="note that other work ran beside it")
    options = parser.parse_args()
    one_core()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        needed = (options.bags + options.large) * BYTES
        if shutil.disk_usage(folder).free < 1.1 * needed:
            parser.error(f"{folder} has no room for {needed / 1e9:.0f} GB; give another --folder")
        write_bags(folder, options.bags, options.large)
        bags = Bags(folder, KEPT)
        tissues = sorted(set(bags.places) - {"large"})
        model = GatedABMIL(WIDTH, 2, SETTINGS["heads"], SETTINGS["hidden"])
        add_gradient(model, bags.read("large"), torch.tensor([1]), 1.0)
        large = peak_mb()
        forget(folder)
        start = time.perf_counter()
        streamed(bags, tissues)
        epoch, memory = time.perf_counter() - start, peak_mb()
        paired = tissues[:PAIRED]
        seconds = compare(bags, folder, paired)
    bag = f"of {NICHES * GRID**2:,} x {WIDTH}"
    size = f"{len(tissues):,} bags {bag}, {len(tissues) * BYTES / 1e9:.1f} GB read from disk"
    rows = [
        {"case": f"{size}, one core", "metric": "epoch", "unit": "s", "value": epoch},
        {"case": size, "metric": "peak memory of the process", "unit": "MB"}
        | {"value": memory, "target": "value <= 2000"},
        {"case": f"{len(paired)} bags {bag}, one core; baseline batches in memory", "unit": "s"}
        | {"metric": "epoch", "value": seconds[0], "baseline": seconds[1], "target": "<= 2"},
        {"case": f"a bag of {options.large * NICHES * GRID**2:,} x {WIDTH}", "unit": "MB"}
        | {"metric": "peak memory of the process", "value": large, "target": "value <= 2000"},
    ]
    with tempfile.TemporaryDirectory() as place:
        where = {"path": Path(place) / "dry.csv"} if options.dry else {}
        hardware = cpu() + (", busy: only ratios count" if options.busy else "")
        append("abmil", rows, ["torch", "numpy", "zarr"], hardware, **where)


if __name__ == "__main__":
    main()
