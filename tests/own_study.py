"""A study of one small labelled cohort and given weights, and a cohort of one's own beside it."""

import numpy as np
import pandas as pd
import tifffile
import torch
import yaml

from virtues_core import VirTues, VirTuesConfig, save_weights

MODEL = {"width": 32, "feedforward": 64, "heads": 2, "encoder": "hvhv", "decoder": "ff"}
MODEL |= {"patch": 8, "attention": "auto"}
REFERENCE = {
    "Histone H3": "P68431", "panCK": "P04264", "SMA": "P62736", "CD3": "P07766", "CD20": "P11836",
    "FOXP3": "Q9BZS1",
}  # fmt: skip
MINE = {
    "Histone H3": "P68431", "panCK": "P04264", "SMA": "P62736", "CD3": "P07766", "CD31": "P16284",
    "AR": "P10275", "DNA1": None,
}  # fmt: skip
TYPES = ("Tumour", "Stroma", "T cell")
LIFT = {"panCK": 0, "SMA": 1, "CD3": 2, "CD31": 1, "AR": 0, "FOXP3": 2}
SIDE = 72


def tissue(panel, rng, cells=40):
    """Return counts [C, H, W], an instance mask [H, W] and the type of each cell."""
    mask = np.zeros((SIDE, SIDE), np.int32)
    kinds = rng.integers(0, len(TYPES), cells)
    yy, xx = np.mgrid[:SIDE, :SIDE]
    image = rng.poisson(0.3, (len(panel), SIDE, SIDE)).astype(np.float32)
    for cell, kind in enumerate(kinds, start=1):
        y, x = rng.integers(4, SIDE - 4, 2)
        disc = (yy - y) ** 2 + (xx - x) ** 2 <= 16
        mask[disc & (mask == 0)] = cell
        for channel, marker in enumerate(panel):
            if LIFT.get(marker, kind) == kind:
                image[channel, disc] += rng.poisson(6, disc.sum())
    kept = np.unique(mask)[1:]
    return image, mask, {int(cell): TYPES[kinds[cell - 1]] for cell in kept}


def write_cohort(folder, cohort, panel, tissues, seed, labelled):
    """Write TIFFs, masks, tables and the cohort file `folder`/<cohort>.yaml; returns its path."""
    rng, data = np.random.default_rng(seed), folder / cohort
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
    rows = []
    for number in range(tissues):
        image, mask, kinds = tissue(panel, rng)
        name = f"p{number}_1"
        tifffile.imwrite(data / f"images/{name}.tiff", image, photometric="minisblack")
        tifffile.imwrite(data / f"masks/{name}.tiff", mask)
        rows += [(name, cell, kind) for cell, kind in kinds.items()]
    document = {
        "id": cohort,
        "title": f"A small cohort called {cohort}",
        "access": "open",
        "simulated": True,
        "source": {"folder": cohort},
        "reader": "stack_tiff",
        "layout": {
            "images": {"pattern": r"images/(?P<tissue>(?P<patient>p\d+)_\d)\.tiff$"},
            "masks": {"pattern": r"masks/(?P<tissue>.+)\.tiff$"},
        },
        "pixel_size": 1.0,
        "panel": [
            {"channel": marker} | ({"uniprot": accession} if accession else {})
            for marker, accession in panel.items()
        ],
    }
    if labelled:
        columns = ["image", "label", "type"]
        pd.DataFrame(rows, columns=columns).to_csv(data / "cells.csv", index=False)
        labels = {"cell_type": "type"}
        document["cells"] = {"file": "cells.csv", "tissue": "{image}", "cell": "label"}
        document["cells"]["labels"] = labels
        tasks = ("subtype", "grade", "lymph_node_metastasis", "relapse")
        table = pd.DataFrame({"patient": [f"p{n}" for n in range(tissues)]})
        for place, task in enumerate(tasks):
            table[task] = [f"{task} {'ab'[(n + place) % 2]}" for n in range(tissues)]
        table.to_csv(data / "patients.csv", index=False)
        document["clinical"] = [
            {"file": "patients.csv", "by": {"patient": "patient"}, "columns": list(tasks)}
        ]
        document["tasks"] = {task: {"column": task, "provenance": "made up"} for task in tasks}
    path = folder / f"{cohort}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return path


def write_study(folder, weights=None, **settings):
    """Write both cohorts, weights and the overlay `folder`/study.yaml; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_cohort(folder, "lung", REFERENCE, 6, 0, labelled=True)
    write_cohort(folder, "mine", MINE, 3, 1, labelled=False)
    if weights is None:
        weights = folder / "weights.safetensors"
        torch.manual_seed(0)
        config = {key: value for key, value in MODEL.items() if key != "attention"}
        save_weights(
            VirTues(VirTuesConfig(**config, marker_width=640), torch.zeros(1, 640)), weights
        )
    overlay = {
        "study": "small",
        "simulated": True,
        "offline": True,
        "archives": str(folder / "archives"),
        "device": "cpu",
        "seeds": [0],
        "cohorts": [str(folder / "lung.yaml")],
        "cohort_threads": 1,
        "tissue": {"min_side": 64, "min_coverage": 0.0},
        "sub_images": {"side": 64},
        "split": {"test_fraction": 0.34},
        "markers": {"sequences": "synthetic", "esm2": {"weights": "seeded", "layers": 1}},
        "model": MODEL,
        "pretrain": {"crop": 32, "batch": 8, "micro_batch": 8},
        "embed": {"crop": 32, "stride": 16, "threads": 1},
        "instances": [{"name": "given", "cohorts": ["lung"], "weights": str(weights)}],
        "models": ["given"],
        "cells": {"transfer": {"source": "lung", "label": "cell_type"}, "labels": {"lung": []}},
        "retrieval": {"cohort": "lung"},
        "own": {"crops": 6, "cases": 3, "reference_tissues": 3, "stain": ["FOXP3", "PD-1"]},
    }
    for key, value in settings.items():
        inner = isinstance(value, dict) and isinstance(overlay.get(key), dict)
        overlay[key] = overlay[key] | value if inner else value
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(overlay))
    return path
