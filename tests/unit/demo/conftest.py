"""The embedded cohorts at the size of the demo, written once."""

import io
import tarfile
import zipfile
from functools import cache
from types import SimpleNamespace

import pandas as pd
import pytest
import tifffile

from demo.simulate import write_archive
from demo.simulator.cohort import LAYOUTS, read_effects, section_of

BENCHMARKS = ("danenberg2022", "cords2024", "wang2023", "hoch2022", "damond2019")
SMALL = [name for name in LAYOUTS if name not in BENCHMARKS]
# Layouts in which a patient has one image.
SINGLE = ("schulz2018", "allam2022", "immucan2024")
SETTINGS = {
    "seed": 0,
    "patients": 5,
    "tissues": {
        f"sim_{name}": 6 if name in BENCHMARKS else 4 if name in SINGLE else 5 for name in LAYOUTS
    },
    "side": [256, 300],
    "cells": 240,
    "undersized": ["sim_danenberg2022"],
    "small": {
        "patients": 4,
        "side": [256, 272],
        "cells": 150,
        "cohorts": [f"sim_{name}" for name in SMALL],
    },
}


class Archive:
    """Files of an archive, read with nothing but what its dataset sheet says."""

    def __init__(self, folder, cohort_id):
        self.files, self.record = folder / "files", folder / "record.json"
        self.id, self.effects = cohort_id, read_effects()
        self.section = section_of(cohort_id, self.effects)
        self.truth = write_archive(cohort_id, self.effects, SETTINGS, self.files, self.record)

    def names(self, archive):
        with self._open(archive) as file:
            return file.getnames() if isinstance(file, tarfile.TarFile) else file.namelist()

    def read(self, archive, member):
        with self._open(archive) as file:
            if isinstance(file, tarfile.TarFile):
                return file.extractfile(member).read()
            return file.read(member)

    def _open(self, archive):
        if archive.endswith(".tar.gz"):
            return tarfile.open(self.files / archive)
        outer, _, inner = archive.partition("!")
        file = zipfile.ZipFile(self.files / outer)
        return zipfile.ZipFile(file.open(inner)) if inner else file

    def tiff(self, archive, member):
        return tifffile.imread(io.BytesIO(self.read(archive, member)))

    def table(self, archive, member, separator=","):
        content = io.BytesIO(self.read(archive, member))
        return pd.read_csv(content, sep=separator, keep_default_na=False)


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """Return a function that writes a cohort's archive once, and returns it."""
    return cache(lambda name: Archive(tmp_path_factory.mktemp(name), f"sim_{name}"))


@pytest.fixture
def damond(archives):
    return archives("damond2019")


@pytest.fixture
def danenberg(archives):
    return archives("danenberg2022")


@pytest.fixture
def cords(archives):
    return archives("cords2024")


@pytest.fixture
def wang(archives):
    return archives("wang2023")


@pytest.fixture
def hoch(archives):
    return archives("hoch2022")


@pytest.fixture(params=LAYOUTS)
def archive(request, archives):
    return archives(request.param)


@pytest.fixture
def settings():
    """Settings of a cohort that is drawn in a tenth of a second."""
    tissues = dict.fromkeys(SETTINGS["tissues"], 2)
    few = {"patients": 2, "side": [96, 112], "cells": 30, "undersized": []}
    return SETTINGS | few | {"tissues": tissues, "small": {"cohorts": []}}


@pytest.fixture
def job(tmp_path, settings):
    """What Snakemake hands to the script of rule simulate."""
    return SimpleNamespace(
        input=SimpleNamespace(effects="demo/simulator/effects.yaml"),
        params=SimpleNamespace(simulation=settings, cohorts=["sim_damond2019"]),
        output=SimpleNamespace(
            files=[str(tmp_path / "files")], records=[str(tmp_path / "record.json")]
        ),
        threads=1,
    )
