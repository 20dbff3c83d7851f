"""A short pretraining on embedded cohorts: its losses on a GPU in bf16 beside those of CPUs.

The same engine, crops, masks and first weights: only the numbers' type and the device differ. The
spread that a seed makes is the measure of what may differ.
"""

import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from demo.simulator.cohort import read_effects, section_of, simulate_cohort
from tests.unit.cohort_folders import channel_table, write_published
from workflow_scripts.common.markers import read_embeddings
from workflow_scripts.markers.embed_markers import write_embeddings
from workflow_scripts.pretrain.instance import train_instance

COHORTS = ("sim_damond2019", "sim_jackson2020")
SIMULATION = {"seed": 0, "patients": 3, "side": [256, 256], "cells": 150, "undersized": []}
MODEL = {"width": 64, "feedforward": 128, "heads": 4, "encoder": "hvhv"}
MODEL |= {"decoder": "ff", "patch": 8}
SETTINGS = {
    "epochs": 1,
    "batch": 8,
    "micro_batch": 8,
    "compile": False,
    "crop": 32,
    "mask_ratio": [0.6, 1.0],
    "channel_dropout": [0.0, 0.25],
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "warmup": 0.1,
    "weight_decay": 0.04,
    "weight_decay_end": 0.4,
    "clip_norm": 1.0,
    "precision": "bf16",  # on a GPU; a CPU always computes in float32
    "processes": 1,
    "nodes": 1,
    "workers": 0,
    "checkpoint_minutes": 60,
    "log_every": 100,
    "tensorboard": False,
}
WINDOW = 25  # steps


def write_cohorts(folder):
    """Write embedded cohorts as training reads them, and embeddings of their markers."""
    effects, seen = read_effects(), []
    for cohort_id in COHORTS:
        settings = SIMULATION | {"tissues": {cohort_id: 3}}
        names = [row["marker"] for row in section_of(cohort_id, effects)["panel"]]
        tissues, windows = {}, []
        for n, tissue in enumerate(simulate_cohort(cohort_id, effects, settings).tissues):
            image = np.log1p(tissue.image.astype("float32"))
            spread = image.std((1, 2), keepdims=True) + 1e-6
            image = (image - image.mean((1, 2), keepdims=True)) / spread
            tissues[f"t{n}"] = (image.astype("float16"), names, "train")
            windows += [(f"t{n}", y, x, 128, 128) for y in (0, 128) for x in (0, 128)]
        write_published(folder / cohort_id, tissues, windows, chunk=64)
        (folder / cohort_id / "imc").mkdir()
        channels = channel_table(names, names)
        channels.to_parquet(folder / cohort_id / "imc/channels.parquet")
        seen += names
    generator = torch.Generator().manual_seed(0)
    vectors = {name: torch.randn(64, generator=generator) for name in sorted(set(seen))}
    write_embeddings(folder / "embeddings.safetensors", vectors, "random numbers")
    assert len(read_embeddings(folder / "embeddings.safetensors")[0]) == len(vectors)


def losses(folder, device, seed, steps):
    """Return the losses of a training on the cohorts in `folder`."""
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        settings = SETTINGS | {"seed": seed, "max_steps": steps}
        names = {"weights": "model.safetensors", "config": "config.json", "metrics": "metrics.json"}
        job = {
            "instance": "short",
            "embeddings": str(folder / "embeddings.safetensors"),
            "output": {key: str(place / name) for key, name in names.items()},
            "threads": 1,
            "device": device,
            "model": MODEL,
            "settings": settings,
            "tracked": {"settings": settings},
            "panel": None,
            "cohort_folders": [str(folder / cohort) for cohort in COHORTS],
            "checkpoint_folder": str(place / "checkpoint"),
        }
        train_instance(job)
        return json.loads((place / "metrics.json").read_text())["losses"]


def smoothed(curve):
    """Return the means of the losses of each WINDOW of steps, of all of them if they are few."""
    curve = np.asarray(curve)
    windows = max(1, len(curve) // WINDOW)
    return curve[: windows * WINDOW].reshape(windows, -1).mean(axis=1)


def distance(curve, others):
    """Return (largest distance of a curve to the first of the others, spread of the others there).

    After smoothing; the window taken is that of the largest ratio. The spread is the difference
    of the largest and the smallest of the others.
    """
    others = np.stack([smoothed(other) for other in others])
    apart = np.abs(smoothed(curve) - others[0])
    spread = others.max(axis=0) - others.min(axis=0)
    worst = int(np.argmax(apart / np.maximum(spread, 1e-12)))
    return float(apart[worst]), float(spread[worst])


def measure(device, steps=500, seeds=(0, 1, 2)):
    """Return the row: a training on `device` beside those of all seeds on CPUs."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_cohorts(folder)
        with ProcessPoolExecutor(len(seeds), mp_context=get_context("spawn")) as pool:
            waiting = [pool.submit(losses, folder, "cpu", seed, steps) for seed in seeds]
            own = losses(folder, device, seeds[0], steps)
            others = [one.result() for one in waiting]
    apart, spread = distance(own, others)
    case = (
        f"pretraining of {steps} steps on embedded cohorts, bf16; baseline spread of "
        f"{len(seeds)} seeds in float32 on CPUs"
    )
    row = {"case": case, "metric": "distance to the loss of the same seed", "unit": ""}
    return [row | {"value": apart, "baseline": spread, "target": "<= 1"}]
