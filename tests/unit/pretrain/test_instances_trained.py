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
from virtues_core import VirTues, VirTuesConfig, load_weights, pack
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.markers import read_embeddings
from workflow_scripts.common.training.gradients import accumulate_gradients, flat_gradients
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


def test_a_marker_of_a_panel_without_embedding_is_named(job):
    job.params.panel = {"P3": "CD3", "P99": "CD99"}
    sentence = (
        r"embeddings\.safetensors: no embedding of CD99 \(P99\), a marker of the panel of panel; "
        r"expected one of each; remove it from instances\.panel\.panel, or add it to the table"
    )
    with pytest.raises(InputError, match=sentence):
        pretrain.main(job)


def test_a_checkpoint_of_another_panel_is_refused(job):
    tracked = pretrain.plain_job(job)["tracked"]
    job.params.panel = {"P3": "CD3"}
    other = pretrain.plain_job(job)["tracked"]
    assert instance.Checkpoint and tracked != other and other["panel"] == {"P3": "CD3"}


def test_gradients_by_groups_of_channels_are_those_of_the_whole_loss():
    torch.manual_seed(0)
    config = VirTuesConfig(**MODEL, marker_width=8)
    model = VirTues(config, torch.randn(6, 8)).double()
    images = [torch.randn(c, 16, 16).double() for c in (6, 3)]
    masks = [torch.rand(c, 2, 2) < 0.7 for c in (6, 3)]
    batches = [pack([i], [torch.arange(len(i))], [m]) for i, m in zip(images, masks, strict=True)]
    objective = instance.GroupedLoss(model, "cpu")
    model.decoder.channels_at_a_time = lambda positions: 2

    def whole(packed):
        packed = packed.to("cpu")
        return instance_error(model, packed), packed.images.numel()

    found = []
    full = torch.autocast("cpu", enabled=False)
    for one in (objective, whole):
        gradients = flat_gradients(model).double()
        for parameter, part in zip(
            model.parameters(),
            gradients.split([p.numel() for p in model.parameters()]),
            strict=True,
        ):
            parameter.grad = part.view_as(parameter)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        loss, _ = accumulate_gradients(one, batches, gradients, scaler, full)
        found.append((loss.double(), gradients))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-6, atol=0)
    # GroupedLoss takes crops as float32, as they come from disk: rounding of that much remains.
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-7)


def instance_error(model, packed):
    from virtues_core import squared_error_sum

    return squared_error_sum(model(packed), packed)[0]
