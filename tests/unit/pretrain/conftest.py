"""Two published cohorts with panels of 10 and 3 channels, and the job that trains on them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.unit.cohort_folders import channel_table, write_published
from workflow_scripts.markers.embed_markers import write_embeddings

PANELS = {"large": [f"P{c}" for c in range(10)], "small": ["P0", "Q0", "Q1"]}
SETTINGS = {
    "epochs": 1,
    "max_steps": 6,
    "batch": 6,
    "micro_batch": 2,
    "compile": True,
    "crop": 16,
    "mask_ratio": [0.6, 1.0],
    "channel_dropout": [0.0, 0.25],
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "warmup": 0.1,
    "weight_decay": 0.04,
    "weight_decay_end": 0.4,
    "clip_norm": 1.0,
    "precision": "fp16",
    "seed": 0,
    "processes": 1,
    "nodes": 1,
    "workers": 0,
    "threads": 1,
    "checkpoint_minutes": 60,
    "log_every": 2,
    "tensorboard": False,
}
MODEL = {"width": 16, "feedforward": 32, "heads": 2, "encoder": "hv", "decoder": "f", "patch": 8}


@pytest.fixture
def cohorts(tmp_path):
    rng = np.random.default_rng(0)
    for name, accessions in PANELS.items():
        image = rng.normal(size=(len(accessions), 64, 64)).astype("float16")
        windows = [(f"{name} tissue", 4 * i, 3 * i, 32, 32) for i in range(7)]
        write_published(tmp_path / name, {f"{name} tissue": (image, accessions, "train")}, windows)
        (tmp_path / name / "imc").mkdir()
        channel_table(accessions, accessions).to_parquet(tmp_path / name / "imc/channels.parquet")
    return [str(tmp_path / name) for name in PANELS]


@pytest.fixture
def make_job(tmp_path, cohorts):
    """Return a function that makes the object rule pretrain hands to its script."""
    generator = torch.Generator().manual_seed(0)
    accessions = sorted({a for panel in PANELS.values() for a in panel})
    vectors = {a: torch.randn(8, generator=generator) for a in accessions}
    write_embeddings(tmp_path / "embeddings.safetensors", vectors, "random numbers")

    def make(name, **operation):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "rule.log").write_text("")
        tracked = {k: v for k, v in SETTINGS.items() if k not in operation}
        return SimpleNamespace(
            input=SimpleNamespace(embeddings=str(tmp_path / "embeddings.safetensors")),
            output={
                "weights": str(folder / "model.safetensors"),
                "config": str(folder / "config.json"),
                "metrics": str(folder / "metrics.json"),
            },
            params=SimpleNamespace(
                device="cpu",
                model=MODEL,
                settings=tracked,
                panel=None,
                code="as it is",
                cohort_folders=cohorts,
                checkpoint_folder=str(folder / "checkpoint"),
                tensorboard_folder=str(folder / "tensorboard"),
            ),
            config={"deterministic": False, "pretrain": SETTINGS | operation},
            wildcards=SimpleNamespace(instance=name),
            log=[str(folder / "rule.log")],
            threads=1,
        )

    return make
