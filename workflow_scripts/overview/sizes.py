"""How much of each cohort is there after the filters."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

MEASURES = {
    "patients": "patients",
    "images": "tissue images",
    "sub_images": "sub-images",
    "cells": "segmented cells",
}


def cohort_size(folder):
    """Return patients, images, sub-images, cells and tissue area (mm2) of a cohort's folder.

    A pixel has 1 um: the area is that of the tissue masks.
    """
    folder = Path(folder)
    tissues = pd.read_parquet(folder / "metadata/tissues.parquet")
    area = (tissues["height"] * tissues["width"] * tissues["tissue_fraction"]).sum() / 1e6
    return {
        "cohort": folder.name,
        "patients": tissues["patient_id"].nunique(),
        "images": len(tissues),
        "train_images": int((tissues["split"] == "train").sum()),
        "test_images": int((tissues["split"] == "test").sum()),
        "sub_images": _rows(folder / "sub_images.parquet"),
        "cells": _rows(folder / "metadata/cells.parquet"),
        "tissue_mm2": area,
    }


def read_sizes(folders):
    """Return a table with one row per cohort."""
    return pd.DataFrame([cohort_size(folder) for folder in folders])


def patients_on_both_sides(folders):
    """Return {patient id: cohorts} of ids that one cohort trains on and another tests with.

    Every cohort is split by itself. Plain numbers are each cohort's own, and say nothing.
    """
    seen = {"train": {}, "test": {}}
    for folder in map(Path, folders):
        tissues = pd.read_parquet(folder / "metadata/tissues.parquet")
        for split, ids in tissues.groupby("split")["patient_id"]:
            for patient in set(map(str, ids)):
                if not patient.isdigit():
                    seen[split].setdefault(patient, []).append(folder.name)
    both = sorted(set(seen["train"]) & set(seen["test"]))
    return {patient: seen["train"][patient] + seen["test"][patient] for patient in both}


def _rows(path):
    return pq.read_metadata(path).num_rows
