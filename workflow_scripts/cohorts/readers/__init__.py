"""Readers: each turns one kind of archive into an ordered list of tissues, loaded lazily."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

import pandas as pd


@dataclass(frozen=True)
class Tissue:
    """One image as its archive holds it; pixels are read when a loader is called."""

    tissue_id: str
    patient_id: str
    specimen_id: str
    original_file_name: str
    load_image: Callable  # () -> [C, H, W] float32, at the files' pixel size, panel order
    load_mask: Callable | None = None  # () -> [H, W] integer, 0 = background
    mask_name: str | None = None
    split: str | None = None
    clinical: dict = field(default_factory=dict)
    absent: tuple = ()  # channels that were not measured; their pixels are 0


@dataclass(frozen=True)
class Source:
    """A cohort as read: its channels in stack order, its tissues, its cells."""

    panel: pd.DataFrame  # columns of channels.parquet in the spora layout
    tissues: list[Tissue]
    cells: pd.DataFrame | None  # tissue_id, cell_id, x, y (pixels of the files), labels
    warnings: list[str]
    neighbours: pd.DataFrame | None = None  # tissue_id, from, to: a row per pair of cells


def read_source(folder, cohort):
    """Read what `cohort` (a `Cohort`) describes from the data in `folder`; returns a `Source`."""
    reader = import_module(f"workflow_scripts.cohorts.readers.{cohort.reader}")
    return reader.read(folder, cohort)
