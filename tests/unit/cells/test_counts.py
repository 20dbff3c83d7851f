"""Mean raw counts of patches, niches and cells, where tokens of a model would be (D9)."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.unit.cohort_folders import write_published
from workflow_scripts.cells import count_cells
from workflow_scripts.common.cohort_files import MASKS
from workflow_scripts.common.images import write_mask, write_ome_zarr
from workflow_scripts.common.tokens import read_tokens


@pytest.fixture
def job(tmp_path):
    """Return the job of two tissues of 32 px, of which the second has no cell mask."""
    rng, folder = np.random.default_rng(0), tmp_path / "c"
    ready = rng.normal(size=(2, 32, 32)).astype("float16")
    write_published(folder, {t: (ready, ["P1", "P2"], "train") for t in ("t0", "t1")}, [])
    tissues = folder / "metadata/tissues.parquet"
    pd.read_parquet(tissues).assign(patient_id="p0").to_parquet(tissues)
    (folder / "imc").mkdir()
    channels = {"channel_name": ["marker 0", "marker 1", "DNA"], "uniprot_id": ["P1", "P2", None]}
    pd.DataFrame(channels).assign(qc_pass=True).to_parquet(folder / "imc/channels.parquet")
    labels = np.zeros((32, 32), int)
    labels[2:6, 2:6], labels[20:30, 8:12] = 1, 7
    write_mask(folder / MASKS / "cell_masks/instances/t0.npz", labels)
    counts = {}
    for tissue in ("t0", "t1"):
        write_mask(folder / MASKS / f"tissue_masks/{tissue}.npz", np.arange(32) < [[16]] * 32)
        counts[tissue] = rng.poisson(9, (3, 32, 32)).astype(np.float32)
        path = tmp_path / "images" / f"{tissue}.ome.zarr"
        write_ome_zarr(path, counts[tissue], ["marker 1", "DNA", "marker 0"])  # another order
    params = SimpleNamespace(
        settings={"crop": 16, "patch": 8}, min_coverage=0.3, cohort_folder=str(folder)
    )
    return (
        counts,
        labels,
        SimpleNamespace(
            input=SimpleNamespace(images=str(tmp_path / "images")),
            output=[str(tmp_path / "out")],
            params=params,
        ),
    )


def test_counts_are_averaged_over_patches_niches_and_cells(job):
    counts, labels, job = job
    count_cells.main(job)
    folder = job.output[0]
    cells, means = read_tokens(folder, "cells")
    assert cells[["tissue_id", "cell_id"]].to_numpy().tolist() == [["t0", 1], ["t0", 7]]
    image = counts["t0"][[2, 0]]  # the channels with an accession, in the order of the panel
    for row, cell in enumerate((1, 7)):
        np.testing.assert_allclose(means[row], image[:, labels == cell].mean(axis=1), rtol=1e-6)
    niches, tokens = read_tokens(folder, "niche")
    places = niches[["tissue_id", "row", "col"]].to_numpy().tolist()
    assert places == [[t, row, 0] for t in ("t0", "t1") for row in (0, 16)]  # where tissue is
    np.testing.assert_allclose(tokens[1], image[:, 16:, :16].mean(axis=(1, 2)), rtol=1e-6)
    _, patches = read_tokens(folder, "patch")
    assert patches.shape == (4, 2, 2, 2)
    np.testing.assert_allclose(patches[0, 1, 0], image[:, 8:16, :8].mean(axis=(1, 2)), rtol=1e-6)
    with open(f"{folder}/accessions.json") as file:
        assert json.load(file) == ["P1", "P2"]
