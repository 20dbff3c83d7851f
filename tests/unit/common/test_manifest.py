"""What a figure target says of its own making."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from workflow_scripts.common.figures import number, save_target
from workflow_scripts.common.manifest import checksum, write_manifests


@pytest.fixture
def job(tmp_path):
    source = tmp_path / "cells.parquet"
    source.write_bytes(b"cells")
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    (tokens / "0.0").write_bytes(b"token")
    folder = tmp_path / "fig9z"
    numbers = {"r": number(0.5, seeds=[1, 0], weights="all14, sha256 ab")}
    table = pd.DataFrame({"r": [0.5]})
    save_target(folder, "fig9z", None, table, numbers, "A caption.", simulated=True)
    return SimpleNamespace(
        rule="fig9z",
        input=[source, tokens],
        output=[folder / "numbers.json"],
        params={"code": "0123"},
    )


def test_a_manifest_names_inputs_code_weights_and_outputs(job):
    write_manifests(job)
    manifest = json.loads(job.output[0].with_name("manifest.json").read_text())
    assert manifest["code"] == "0123" and manifest["seeds"] == [0, 1]
    assert manifest["weights"] == ["all14, sha256 ab"]
    assert set(manifest["outputs"]) == {"numbers.json", "source_data.csv"}
    assert len(manifest["inputs"]) == 2


def test_the_same_job_leaves_the_same_bytes_and_another_input_does_not(job):
    path = job.output[0].with_name("manifest.json")
    write_manifests(job)
    first = path.read_bytes()
    write_manifests(job)
    assert path.read_bytes() == first
    job.input[0].write_bytes(b"other cells")
    write_manifests(job)
    assert path.read_bytes() != first


def test_a_folder_is_known_by_names_and_sizes(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    before = checksum(tmp_path)
    (tmp_path / ".snakemake_timestamp").touch()
    assert checksum(tmp_path) == before
    (tmp_path / "a").write_bytes(b"12")
    assert checksum(tmp_path) != before


def test_a_job_without_numbers_has_no_manifest(tmp_path):
    write_manifests(SimpleNamespace(output=[tmp_path / "cells.parquet"]))
    assert not list(tmp_path.iterdir())
