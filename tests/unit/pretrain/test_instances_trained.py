"""Instances of a panel, and instances of given weights: from training or a file to use."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.unit.pretrain.conftest import MODEL, PANELS
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.errors import InputError
from workflow_scripts.markers.embed_markers import write_embeddings
from workflow_scripts.pretrain import given_weights, instance, pretrain

SETTINGS = {"crop": 16, "stride": 8, "batch": 2, "patch": 8}
WIDTHS = {512: 16, 1024: 32, 640: 8, 64: 64}  # of the published model -> of the tests' one


@pytest.fixture
def job(make_job):
    return make_job("panel", max_steps=2)


def opened(job, name="panel"):
    folder = Path(job.output["weights"]).parent
    return open_embedder(name, folder, job.input.embeddings, SETTINGS, "cpu")


def test_a_training_that_failed_goes_on_with_a_lower_rate_and_its_metrics_say_so(
    make_job, monkeypatch
):
    job = make_job("cut", log_every=1, checkpoint_minutes=1e-9)
    backward, calls = instance.GroupedLoss.backward, []

    def failing(self, packed, scale):
        calls.append(packed)
        loss, pixels = backward(self, packed, scale)
        return loss * (math.nan if len(calls) == 11 else 1), pixels

    with monkeypatch.context() as patch:
        patch.setattr(instance.GroupedLoss, "backward", failing)
        with pytest.raises(InputError, match="lower learning_rate .* and start again to go on"):
            pretrain.main(job)
    job.params.settings["learning_rate"] /= 10
    pretrain.main(job)
    metrics = json.loads(Path(job.output["metrics"]).read_text())
    change = {"step": 3, "key": "learning_rate", "before": 1e-3, "after": 1e-4}
    assert metrics["changed_on_the_way"] == [change] and metrics["steps"] == 6


def test_an_instance_of_a_panel_trains_on_it_alone_and_knows_no_other_marker(job, monkeypatch):
    job.params.panel = {"P3": "CD3", "Q0": "Q0", "P0": "CD8"}
    seen = set()
    read = instance.TrainingCrops.__getitem__

    def watched(crops, n):
        image, ids = read(crops, n)
        seen.update(crops.accessions[i] for i in ids)
        return image, ids

    monkeypatch.setattr(instance.TrainingCrops, "__getitem__", watched)
    pretrain.main(job)
    assert seen == {"P0", "P3", "Q0"}
    assert json.loads(Path(job.output["config"]).read_text())["accessions"] == ["P0", "P3", "Q0"]
    assert json.loads(Path(job.output["metrics"]).read_text())["panel"] == job.params.panel

    model = opened(job)
    positions, left_out = model.usable(PANELS["large"])
    assert positions == [0, 3] and left_out == "8 channels that the model does not know"
    image = np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32)
    tokens = model.embed(image, ["P0", "P3"], [(0, 0)], None)
    # Markers are told apart by their accession: the same pixels under other names differ.
    swapped = model.embed(image, ["P3", "P0"], [(0, 0)], None)
    assert np.abs(tokens.niche - swapped.niche).max() > 1e-4
    made = model.reconstruct(image[None], ["P0", "P3"], np.zeros((1, 2, 2, 2), dtype=bool))
    assert made.shape == (1, 2, 16, 16) and np.isfinite(made).all()


def test_what_is_not_written_whole_has_no_name_and_is_written_by_the_next_run(job, monkeypatch):
    def stop():
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(instance, "provenance", stop)  # after the weights
        with pytest.raises(OSError, match="the disk is full"):
            pretrain.main(job)
    assert not [path for path in job.output.values() if Path(path).exists()]
    pretrain.main(job)
    assert json.loads(Path(job.output["metrics"]).read_text())["steps"] == 2
    assert not list(Path(job.output["weights"]).parent.glob(".*"))


def test_a_marker_of_a_panel_without_embedding_is_named(job):
    job.params.panel = {"P3": "CD3", "P99": "CD99"}
    sentence = (
        r"embeddings\.safetensors: no embedding of CD99 \(P99\), a marker of the panel of panel; "
        r"expected one of each; remove it from instances\.panel\.panel, or add it to the table"
    )
    with pytest.raises(InputError, match=sentence):
        pretrain.main(job)


def test_a_panel_is_part_of_what_a_checkpoint_must_share(job):
    job.params.panel = {"P3": "CD3"}
    assert pretrain.plain_job(job)["tracked"]["panel"] == {"P3": "CD3"}


def published_tensors(shared, widths=WIDTHS, encoder=2, decoder=1):
    """Return tensors of the published keys and shapes, but smaller and of fewer blocks."""
    inventory = json.loads(shared("golden/architecture_inventory.json").read_text())
    generator, tensors = torch.Generator().manual_seed(0), {}
    angles = torch.arange(1200)[:, None] / 10000 ** (torch.arange(0, 4, 2) / 4)  # heads of 8
    angles = torch.cat([angles, angles], dim=1)
    for entry in inventory["keys"]:
        key = entry["key"]
        part, _, block, *_ = [*key.split("."), ""]
        if block.isdigit() and int(block) >= {"encoder": encoder, "decoder": decoder}[part]:
            continue
        shape = [widths.get(n, n) for n in entry["shape"]]
        tensors[key] = torch.randn(shape, generator=generator) / 4
        if ".rope1d." in key:
            tensors[key] = angles.sin() if key.endswith("sin") else angles.cos()
    return tensors


@pytest.fixture
def given(tmp_path, make_job):
    """Return a function that takes tensors as the given weights of an instance; makes its job."""

    def take(tensors, model=MODEL):
        job = make_job("given")
        path = tmp_path / "published.safetensors"
        save_file(tensors, path)
        job.input.weights = str(path)
        job.params = SimpleNamespace(model=model, cohorts=["large"])
        given_weights.main(job)
        return job

    return take


def test_given_weights_of_the_published_layout_embed_and_reconstruct(shared, given):
    job = given(published_tensors(shared))
    metrics = json.loads(Path(job.output["metrics"]).read_text())
    assert (
        metrics["losses"] == []
        and metrics["cohorts"] == ["large"]
        and metrics["given"]["path"] == job.input.weights
    )
    model = opened(job)
    panel = PANELS["large"]
    assert len(model.usable(panel)[0]) == len(panel)
    image = np.random.default_rng(0).normal(size=(10, 32, 32)).astype(np.float32)
    labels = np.zeros((32, 32), dtype=np.int32)
    labels[4:12, 4:12], labels[20:30, 20:30] = 1, 2
    tokens = model.embed(image, panel, [(0, 0), (16, 16)], labels)
    assert tokens.patch.shape == (2, 2, 2, 16) and tokens.cell_ids.tolist() == [1, 2]
    masks = np.zeros((1, 10, 2, 2), dtype=bool)
    made = model.reconstruct(image[None, :, :16, :16], panel, masks)
    assert np.isfinite(made).all() and np.isfinite(tokens.cells).all()
    # Another number in the file is another token: the weights are those of the file.
    changed = published_tensors(shared)
    changed["encoder.patch_encoder.weight"] *= 2
    other = opened(given(changed)).embed(image, panel, [(0, 0), (16, 16)], None)
    assert np.abs(other.patch - tokens.patch).max() > 1e-3


def test_given_weights_give_the_numbers_of_the_published_code(shared, tmp_path, given):
    arrays = dict(np.load(shared("golden/g1.npz")))
    names = [f"M{row:02d}" for row in range(len(arrays["prior_embeddings"]))]
    vectors = dict(zip(names, map(torch.from_numpy, arrays["prior_embeddings"]), strict=True))
    size = {"width": 64, "feedforward": 128, "heads": 4, "encoder": "hvhv", "decoder": "ff"}
    write_embeddings(tmp_path / "embeddings.safetensors", vectors, "of the published code")
    model = opened(given(load_file(shared("golden/g1.safetensors")), MODEL | size))
    for i in range(3):
        image, mask = arrays[f"image_{i}"], arrays[f"mask_{i}"]
        panel = [names[row] for row in arrays[f"channel_ids_{i}"]]
        made = model.reconstruct(image[None], panel, mask[None])
        np.testing.assert_allclose(made[0], arrays[f"masked_decoded_{i}"], atol=2e-5)


LATE = "; expected the weights of a model with the settings `model`.*and markers of 8 numbers"


@pytest.mark.parametrize(
    ("edit", "model", "sentence"),
    [
        (lambda t: t.pop("encoder.masked_token"), {}, "missing: encoder.masked_token" + LATE),
        (lambda t: None, {"feedforward": 64}, "of other shape: encoder.*feedforward.0.*" + LATE),
        (lambda t: None, {"width": 32}, r"other rotary positions.*`model` .*: width 32, heads 2"),
        (lambda t: t.update(extra=torch.ones(1)), {}, "unexpected: extra" + LATE),
        (lambda t: None, {"encoder": "hvhv"}, "missing: encoder"),
        (
            lambda t: t["encoder.masked_token"].fill_(math.nan),
            {},
            "encoder.masked_token holds numbers that are NaN or infinite",
        ),
    ],
)
def test_given_weights_that_do_not_fit_are_refused(shared, given, edit, model, sentence):
    tensors = published_tensors(shared)
    edit(tensors)
    with pytest.raises(InputError, match=sentence):
        given(tensors, MODEL | model)


def test_blocks_are_not_compiled_where_that_cannot_work(monkeypatch):
    monkeypatch.setattr(instance, "compiler", lambda: None)
    instance.check_compiler()
    monkeypatch.setattr(instance, "compiler", lambda: "Python.h is missing in /usr/include")
    with pytest.raises(InputError) as refused:
        instance.check_compiler()
    assert str(refused.value) == (
        "pretrain.compile: Python.h is missing in /usr/include; install it on the machines with "
        "GPUs, or set pretrain.compile: false, which is slower"
    )
