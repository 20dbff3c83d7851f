"""Rivals in the engine: resumption without a trace, teacher and centres, losses that fall."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.unit.cohort_folders import channel_table, write_published
from tests.unit.pretrain.conftest import SETTINGS
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.rivals.kronos import KronosConfig
from workflow_scripts.common.rivals.layers import Scale
from workflow_scripts.common.training.processes import Processes
from workflow_scripts.pretrain import pretrain_rival
from workflow_scripts.pretrain.kronos_losses import moved_centre
from workflow_scripts.pretrain.kronos_training import KronosTraining, SelfDistillation
from workflow_scripts.pretrain.kronos_views import Views, augmented, random_view
from workflow_scripts.pretrain.rival import TRAININGS, read_crops, train_rival

OVER = {"learning_rate": 1e-3, "warmup": 0.1, "clip_norm": 3.0, "batch": 4, "micro_batch": 2}
CAMAE = {
    "width": 24,
    "depth": 1,
    "heads": 3,
    "drop_path": 0.1,
    "decoder_width": 16,
    "decoder_depth": 1,
    "decoder_heads": 2,
    "patch": 8,
    "input": "instance",
    "mask_ratio": 0.75,
    "fourier_weight": 0.01,
}
KRONOS = {
    "nucleus": "P0",
    "width": 24,
    "depth": 1,
    "heads": 3,
    "registers": 2,
    "drop_path": 0.1,
    "patch": 8,
    "markers": 2,
    "same_markers": True,
    "large_view": 16,
    "small_view": 8,
    "small_views": 2,
    "large_area": [0.32, 1.0],
    "small_area": [0.05, 0.32],
    "hidden_share": [0.3, 0.5],
    "joint_masks": False,
    "head_width": 16,
    "bottleneck": 8,
    "prototypes": 12,
    "centring": "mean",
    "teacher_temperature": [0.04, 0.07],
    "teacher_warmup": 0.3,
    "momentum": 0.9,
    "spread_weight": 0.1,
    "layer_decay": 0.9,
    "frozen_prototypes": 0.2,
}


@pytest.fixture
def make_rival(tmp_path, cohorts):
    """Return a function that makes the object rule pretrain_rival hands to its script."""

    def make(name, rival, folder=None, folders=None, model=None, **settings):
        folder = tmp_path / (folder or name)
        folder.mkdir(exist_ok=True)
        (folder / "rule.log").write_text("")
        own = SETTINGS | OVER | {"optimizer": "lion" if rival == "camae" else "adamw"} | settings
        return SimpleNamespace(
            output={
                "weights": str(folder / "model.safetensors"),
                "config": str(folder / "config.json"),
                "metrics": str(folder / "metrics.json"),
            },
            params=SimpleNamespace(
                name=rival,
                device="cpu",
                rival={"camae": CAMAE, "kronos": KRONOS}[rival] | (model or {}),
                settings=own,
                code="as it is",
                panel=None,
                cohort_folders=folders or (cohorts[:1] if rival == "camae" else cohorts),
                checkpoint_folder=str(folder / "checkpoint"),
                tensorboard_folder=str(folder / "tensorboard"),
            ),
            config={"deterministic": False, "pretrain": own},
            wildcards=SimpleNamespace(training=name),
            log=[str(folder / "rule.log")],
            threads=1,
        )

    return make


@pytest.mark.parametrize("rival", ["camae", "kronos"])
def test_a_stopped_training_goes_on_to_the_same_losses_and_weights(make_rival, rival, monkeypatch):
    pretrain_rival.main(make_rival("whole", rival))
    training = TRAININGS[rival]
    work, seen = training.work, []

    def stop_in_the_third_step(self, batch):
        seen.append(batch)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGUSR1)
        return work(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(training, "work", stop_in_the_third_step)
        with pytest.raises(SystemExit):
            pretrain_rival.main(make_rival("cut", rival))
    assert len(seen) == 6
    pretrain_rival.main(make_rival("cut", rival))
    whole, cut = (Path(make_rival(n, rival).output["weights"]) for n in ("whole", "cut"))
    first, second = load_file(whole), load_file(cut)
    assert all(torch.equal(first[name], second[name]) for name in first)
    metrics = [json.loads((p.parent / "metrics.json").read_text()) for p in (whole, cut)]
    assert metrics[0]["losses"] == metrics[1]["losses"] and len(metrics[0]["losses"]) == 6
    assert metrics[0]["instance"] == "whole" and metrics[0]["cohorts"]
    assert metrics[0]["changed_on_the_way"] == metrics[1]["changed_on_the_way"] == []
    assert not (cut.parent / "checkpoint").exists()


@pytest.mark.parametrize("rival", ["camae", "kronos"])
def test_micro_batches_are_the_same_whenever_they_are_read(make_rival, rival):
    job = pretrain_rival.plain_job(make_rival("x", rival))
    first, second = (TRAININGS[rival](job, read_crops(job)).dataset[[3, 8]] for _ in range(2))
    a, b = (vars(x.panels[0] if rival == "camae" else x) for x in (first, second))
    assert all(torch.equal(a[k], b[k]) for k in a if isinstance(a[k], torch.Tensor))
    if rival == "camae":
        assert a["images"].shape == (2, 10, 16, 16) and a["order"].shape == (2, 40)
        assert a["visible"] == 10 and a["channels"] == tuple(range(10))
    else:
        assert a["large"].shape == (2, 2, 2, 16, 16) and a["small"].shape == (2, 2, 2, 8, 8)
        assert (a["large_markers"][..., 0] == 0).all() and (a["small_markers"][..., 0] == 0).all()
        assert a["hidden"].shape == (2, 2, 2, 2, 2)


def test_views_may_have_markers_of_their_own(make_rival):
    job = pretrain_rival.plain_job(make_rival("x", "kronos", model={"same_markers": False}))
    views = KronosTraining(job, read_crops(job)).dataset[list(range(12))]
    assert (views.large_markers[..., 0] == 0).all()
    assert (views.large_markers[0] != views.large_markers[1]).any()


def test_weights_open_as_embedders(make_rival, tmp_path):
    image = np.random.default_rng(0).normal(size=(2, 16, 32)).astype("float32")
    rival = {"components": 2, "fit_niches": 5, "seed": 0}
    settings = {"crop": 16, "stride": 16, "batch": 2, "patch": 8, "rival": rival}
    for name in ("camae", "kronos"):
        pretrain_rival.main(make_rival(name, name, max_steps=1))
        embedder = open_embedder(name, tmp_path / name, None, settings, "cpu")
        tokens = embedder.embed(image, ["P3", "P0"], [(0, 0), (0, 16)], None)
        assert tokens.patch.shape == (2, 2, 2, 24) and np.isfinite(tokens.patch).all()


def test_tissues_without_the_nucleus_are_left_out_and_none_at_all_is_refused(
    make_rival, tmp_path, caplog
):
    rng = np.random.default_rng(0)
    tissues = {
        name: (rng.normal(size=(2, 32, 32)).astype("float16"), panel, "train")
        for name, panel in (("with", ["P1", "P0"]), ("without", ["P1", "P2"]))
    }
    windows = [(name, 0, 0, 32, 32) for name in tissues for _ in range(3)]
    write_published(tmp_path / "mixed", tissues, windows)
    (tmp_path / "mixed/imc").mkdir()
    names = ["P0", "P1", "P2"]
    channel_table(names, names).to_parquet(tmp_path / "mixed/imc/channels.parquet")
    folders = [str(tmp_path / "mixed")]
    job = pretrain_rival.plain_job(make_rival("x", "kronos", folders=folders))
    training = KronosTraining(job, read_crops(job))
    assert set(training.crops.tissue_ids) == {"with"} and len(training.crops) == 3
    assert "1 tissues without the nucleus marker P0 are left out" in caplog.text
    assert (training.dataset[[0, 1, 2]].large_markers[..., 0] == 0).all()
    job = pretrain_rival.plain_job(make_rival("y", "kronos", model={"nucleus": "P68431"}))
    with pytest.raises(InputError, match="no cohort of the training has a channel of P68431"):
        train_rival(job)


def distillation(**settings):
    torch.manual_seed(0)
    config = KronosConfig(width=24, depth=1, heads=3, registers=2, drop_path=0.0, grid=2)
    return SelfDistillation(config, KRONOS | settings, steps=10)


def test_the_teacher_follows_the_student_and_learns_nothing_itself():
    model = distillation()
    batch, _ = planted(0, 4)
    loss, samples = model(batch)
    loss.backward()
    assert samples == 4 and all(p.grad is None for p in model.teacher.parameters())
    old = model.teacher.head.lengths.clone()
    with torch.no_grad():
        model.student.head.lengths += 1
        scores = model.teacher.head(
            model.teacher.backbone(batch.large.flatten(0, 1), batch.large_markers.flatten(0, 1))[0]
        )
    model.after_step(Processes())
    torch.testing.assert_close(model.teacher.head.lengths, old + 0.1)
    wanted = moved_centre(torch.zeros(12), scores.mean(dim=0))
    torch.testing.assert_close(model.class_centre, wanted, rtol=1e-4, atol=1e-6)
    assert int(model.done) == 1
    model.done.fill_(10)
    model.after_step(Processes())  # no batch since: the centre stays, the momentum is 1
    torch.testing.assert_close(model.class_centre, wanted, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model.teacher.head.lengths, old + 0.1)


def test_rates_fall_towards_the_pixels():
    model = distillation(layer_decay=0.5)
    rates = {name: model.rate_scale(name) for name, _ in model.student.named_parameters("student")}
    assert rates["student.head.lengths"] == rates["student.backbone.norm.weight"] == 1
    assert rates["student.backbone.blocks.0.norm1.weight"] == 0.5
    assert rates["student.backbone.positions"] == 0.25
    assert rates["student.backbone.embed.weight"] == pytest.approx(0.05)


def planted(seed, samples=12):
    """Views of crops of three kinds: one marker is bright, or the other, or both are striped."""
    rng, views = np.random.default_rng(seed), []
    kinds = np.arange(samples) % 3
    for kind in kinds:
        crop = 0.3 * torch.tensor(rng.normal(size=(2, 16, 16)), dtype=torch.float32)
        if kind < 2:
            crop[kind] += 3
        else:
            crop[0, ::2] += 3
            crop[1, :, ::2] -= 3
        sizes = [(16, (0.32, 1.0))] * 2 + [(8, (0.05, 0.32))] * 2
        views.append([augmented(random_view(crop, *size, rng), rng) for size in sizes])
    large, small = (torch.stack([torch.stack(v[part]) for v in views], 1) for part in HALVES)
    markers = torch.tensor([0, 1]).expand(2, samples, 2)
    hidden = torch.from_numpy(rng.random((2, samples, 2, 2, 2)) < 0.3)
    return Views(large, small, markers, markers, hidden), kinds


HALVES = (slice(0, 2), slice(2, 4))


def trained(batches, **settings):
    """Train where signals pass at once: LayerScale and small weights take thousands of steps."""
    model = distillation(frozen_prototypes=0.0, **settings)
    model.steps = len(batches)
    for module in model.student.modules():
        if isinstance(module, Scale):
            torch.nn.init.ones_(module.factor)
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            torch.nn.init.xavier_uniform_(module.weight.view(len(module.weight), -1))
    model.teacher.load_state_dict(model.student.state_dict())
    optimizer = torch.optim.AdamW(model.student.parameters(), lr=1e-3)
    losses = []
    for batch in batches:
        loss, samples = model(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.after_step(Processes())
        losses.append(loss.item() / samples)
    return model, losses


def test_the_student_learns_what_its_teacher_says():
    # Targets that stay as they are: neither the teacher nor a centre moves.
    settings = {"momentum": 1.0, "spread_weight": 0.0, "centring": "sinkhorn"}
    _, losses = trained([planted(0)[0]] * 40, **settings)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_kinds_of_crops_get_prototypes_of_their_own():
    model, _ = trained([planted(step)[0] for step in range(100)], momentum=0.95)
    views, kinds = planted(999)
    with torch.no_grad():
        tokens, _ = model.teacher.backbone(views.large[0], views.large_markers[0])
        best = model.teacher.head(tokens).argmax(dim=1).numpy()
    table = np.array([[np.sum(best[kinds == kind] == k) for k in range(12)] for kind in range(3)])
    purity = table.max(axis=0).sum() / len(kinds)  # a third when all are the same
    assert 2 <= (table.sum(axis=0) > 0).sum() <= 6 and purity > 0.6
