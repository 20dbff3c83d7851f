"""`weights: published`: a file of the authors' keys and shapes, from its retrieval to a stain."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from snakemake.utils import update_config

from tests.own_study import MINE, write_cohort
from virtues_core import VirTues, VirTuesConfig, save_weights
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.mock import ROOT, planned_jobs
from workflow_scripts.common.study import PUBLISHED, Study
from workflow_scripts.markers.embed_markers import write_embeddings
from workflow_scripts.own.stain_markers import hide_each, predict
from workflow_scripts.pretrain import given_weights

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
SETTINGS = {"crop": 16, "stride": 16, "batch": 2, "patch": 8}
PANEL = ["P68431", "P07766", "P62736"]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return the job of given_weights for a file as retrieve_published leaves it."""
    folder = tmp_path_factory.mktemp("published")
    model = {key: value for key, value in CONFIG["model"].items() if key != "attention"}
    torch.manual_seed(0)
    vectors = dict(zip([*PANEL, "Q9BZS1"], torch.randn(4, 640), strict=True))
    write_embeddings(folder / "embeddings.safetensors", vectors, "made up")
    theirs = VirTues(VirTuesConfig(**model, marker_width=640), torch.zeros(1, 640))
    save_weights(theirs, folder / "model.safetensors", layout="published")
    record = {"name": "model.safetensors", "commit": "0" * 40}
    (folder / "retrieved.json").write_text(json.dumps(record))
    (folder / "out").mkdir()
    names = {"weights": "model.safetensors", "config": "config.json", "metrics": "metrics.json"}
    job = SimpleNamespace(
        input=SimpleNamespace(
            weights=folder / "retrieved.json", embeddings=folder / "embeddings.safetensors"
        ),
        output={name: folder / "out" / file for name, file in names.items()},
        params=SimpleNamespace(model=model, cohorts=["cords2024"]),
        wildcards=SimpleNamespace(instance="published"),
    )
    given_weights.main(job)
    return job


def test_the_file_has_the_published_keys_and_shapes(published, shared):
    inventory = json.loads(shared("golden/architecture_inventory.json").read_text())
    tensors = load_file(published.input.weights.with_name("model.safetensors"))
    tables = [key for key in tensors if ".rope1d." in key]
    weights = {key: tensor for key, tensor in tensors.items() if key not in tables}
    assert sum(t.numel() for t in weights.values()) == inventory["parameters_total"]
    for part in ("encoder", "decoder"):
        mine = {k: v for k, v in weights.items() if k.startswith(f"{part}.")}
        assert len(mine) == inventory[part]["n_parameter_tensors"]
        for key, shape in inventory[f"{part}_outside_blocks"].items():
            assert list(mine[f"{part}.{key}"].shape) == shape


def test_published_weights_embed_and_reconstruct_and_stain(published):
    metrics = json.loads(Path(published.output["metrics"]).read_text())
    assert metrics["given"]["path"].endswith("model.safetensors")
    assert metrics["parameters"] == 42453056
    folder = Path(published.output["weights"]).parent
    model = open_embedder("published", folder, published.input.embeddings, SETTINGS, "cpu")
    image = np.random.default_rng(0).normal(size=(3, 24, 24)).astype(np.float32)
    labels = np.zeros((24, 24), np.int32)
    labels[3:9, 3:9] = 7
    tokens = model.embed(image, PANEL, [(0, 0), (8, 8)], labels)
    assert tokens.niche.shape == (2, 512) and tokens.cells.shape == (1, 512)
    assert np.isfinite(tokens.niche).all() and np.isfinite(tokens.cells).all()
    sums = hide_each(model, image[:, :16, :16], PANEL, 2)
    assert list(sums) == PANEL and all(np.isfinite(s).all() for s in sums.values())
    made = predict(model, image, PANEL, ["Q9BZS1"], 16, 2)
    assert made.shape == (1, 24, 24) and np.isfinite(made).all()


def test_given_weights_appear_whole_or_not_at_all(published, tmp_path, monkeypatch):
    def stop():
        raise OSError("the disk is full")

    monkeypatch.setattr(given_weights, "provenance", stop)
    output = {name: tmp_path / path.name for name, path in published.output.items()}
    with pytest.raises(OSError, match="the disk is full"):
        given_weights.main(SimpleNamespace(**vars(published) | {"output": output}))
    assert not list(tmp_path.iterdir())


def test_the_word_published_stands_for_the_file_that_is_retrieved():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    instance = {"name": "theirs", "cohorts": "all", "weights": PUBLISHED}
    update_config(config, {"instances": [instance], "models": ["theirs"]})
    assert Study(config).given == {"theirs": PUBLISHED}
    jobs = planned_jobs(overrides={"instances": [instance], "models": ["theirs"]})
    [job] = [job for job in jobs if job.rule.name == "given_weights"]
    assert job.input.weights == "results/archives/published/retrieved.json"
    assert [job.rule.name for job in jobs].count("retrieve_published") == 1
    assert not [job for job in jobs if job.rule.name == "pretrain"]


def test_one_file_of_a_cohort_is_enough_for_published_weights(tmp_path):
    path = write_cohort(tmp_path, "mine", MINE, 1, 0, labelled=False)
    document = yaml.safe_load(path.read_text())
    document |= {"own": {"weights": PUBLISHED, "references": False}}
    del document["simulated"]
    path.write_text(yaml.safe_dump(document))
    assert len(path.read_text().splitlines()) < 40
    jobs = planned_jobs(overrides={"cohort": str(path)}, target="own_cohort")
    names = [job.rule.name for job in jobs]
    assert "retrieve_published" in names and "ingest" not in names and "pretrain" not in names
    [model] = [job for job in jobs if job.rule.name == "own_model"]
    assert model.input.weights == "results/archives/published/retrieved.json"
    [markers] = [job for job in jobs if job.rule.name == "list_markers"]
    assert len(markers.params.trained) > 100 and "P07766" in markers.params.trained
