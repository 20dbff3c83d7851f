"""An epoch of gated ABMIL over bags of 4,096 x 512 tokens that stay on disk.

    python -m benchmarks.abmil [--dry] [--busy] [--bags 32]

The baseline is autograd over a whole batch of bags in memory. Ours goes through a bag's tokens
once more than that, to hold the activations of one chunk only; memory is that of the whole process,
libraries included. An epoch of 2,000 bags is given by the rate over those that were run. One core.
"""

import argparse
import resource
import tempfile
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
EPOCH = 2000  # bags
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="append nothing to the table")
    parser.add_argument("--bags", type=int, default=32)
    parser.add_argument("--large", type=int, default=64, help="size of the large bag, in bags")
    parser.add_argument("--busy", action="store_true", help="note that other work ran beside it")
    options = parser.parse_args()
    one_core()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_bags(folder, options.bags, options.large)
        bags = Bags(folder, KEPT)
        tissues = sorted(set(bags.places) - {"large"})
        model = GatedABMIL(WIDTH, 2, SETTINGS["heads"], SETTINGS["hidden"])
        add_gradient(model, bags.read("large"), torch.tensor([1]), 1.0)
        large = peak_mb()
        ours = streamed(bags, tissues)
        epoch = peak_mb()
        tokens = zarr.open_array(f"{folder}/patch.zarr")[: options.bags * NICHES]
        tokens = torch.from_numpy(tokens).reshape(options.bags, -1, WIDTH)
        theirs = in_memory(tokens, tissues)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)
        seconds = best_of(
            [lambda: streamed(bags, tissues), lambda: in_memory(tokens, tissues)], repeats=2
        )
    size = f"{options.bags} bags of {NICHES * GRID**2:,} x {WIDTH}"
    many = EPOCH / options.bags
    rows = [
        {"case": f"{size}, one core; baseline a batch in memory", "metric": "epoch", "unit": "s"}
        | {"value": seconds[0], "baseline": seconds[1], "target": "<= 2"},
        {"case": f"{EPOCH:,} such bags, from that rate", "metric": "epoch", "unit": "s"}
        | {"value": many * seconds[0], "baseline": many * seconds[1]},
        {"case": f"{size}", "metric": "peak memory of the process", "unit": "MB"}
        | {"value": epoch, "baseline": peak_mb(), "target": "value <= 2000"},
        {"case": f"a bag of {options.large * NICHES * GRID**2:,} x {WIDTH}", "unit": "MB"}
        | {"metric": "peak memory of the process", "value": large, "target": "value <= 2000"},
    ]
    with tempfile.TemporaryDirectory() as place:
        where = {"path": Path(place) / "dry.csv"} if options.dry else {}
        hardware = cpu() + (", busy: only ratios count" if options.busy else "")
        append("abmil", rows, ["torch", "numpy", "zarr"], hardware, **where)


if __name__ == "__main__":
    main()
