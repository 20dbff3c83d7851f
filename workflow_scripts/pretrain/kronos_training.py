"""KRONOS as it is trained: a student learns from a teacher that follows it.

Shapes: B samples, v small views, M markers, K prototypes, D width.
"""

import copy
from dataclasses import fields

import torch
from torch import nn

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log
from workflow_scripts.common.rivals.kronos import ROWS, Head, Kronos, KronosConfig
from workflow_scripts.common.training.watch import Work
from workflow_scripts.pretrain.kronos_losses import (
    centred,
    class_loss,
    hidden_loss,
    moved_centre,
    sinkhorn,
    spread_loss,
    teacher_momentum,
    teacher_temperature,
)
from workflow_scripts.pretrain.kronos_views import ViewedCrops


class Encoder(nn.Module):
    """Backbone and head, which class tokens and hidden patches share."""

    def __init__(self, config, settings):
        super().__init__()
        self.backbone = Kronos(config)
        self.head = Head(
            config.width, settings["head_width"], settings["bottleneck"], settings["prototypes"]
        )


class SelfDistillation(nn.Module):
    """Student, teacher and what the teacher's scores are centred by; all of it is the state."""

    undecayed = ("factor",)  # of LayerScale

    def __init__(self, config, settings, steps):
        super().__init__()
        self.config, self.settings, self.steps = config, settings, steps
        self.student = Encoder(config, settings)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.register_buffer("class_centre", torch.zeros(settings["prototypes"]))
        self.register_buffer("patch_centre", torch.zeros(settings["prototypes"]))
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))  # optimiser steps
        self._sums = {}  # of the teacher's scores since the last step

    def rate_scale(self, name):
        """Return the factor of a parameter's learning rate: lower for layers near the pixels."""
        layers = self.config.depth + 1
        if ".backbone." not in name or ".norm." in name and ".blocks." not in name:
            return 1.0
        decay = self.settings["layer_decay"]
        if ".blocks." in name:
            return decay ** (layers - 1 - int(name.split(".blocks.")[1].split(".")[0]))
        return decay**layers * (0.2 if ".embed." in name else 1.0)

    def forward(self, views):
        """Return (summed loss of the samples, their number) of Views."""
        settings, step = self.settings, int(self.done)
        warmup = round(settings["teacher_warmup"] * self.steps)
        temperature = teacher_temperature(step, warmup, *settings["teacher_temperature"])
        frozen = step < settings["frozen_prototypes"] * self.steps
        samples, hidden = views.large.shape[1], views.hidden.flatten(0, 1)
        large, small = views.large.flatten(0, 1), views.small.flatten(0, 1)
        markers = views.large_markers.flatten(0, 1)

        with torch.no_grad():
            tokens, patches = self.teacher.backbone(large, markers)
            scores = self.teacher.head(tokens)
            hidden_scores = self.teacher.head(patches[hidden])
            targets = self._targets(scores, "class_centre", temperature).unflatten(0, (2, -1))
            hidden_targets = self._targets(hidden_scores, "patch_centre", temperature)
        student = self.student
        tokens, patches = student.backbone(large, markers, hidden)
        own = student.head(tokens, frozen).unflatten(0, (2, -1))
        local, _ = student.backbone(small, views.small_markers.flatten(0, 1))
        local = student.head(local, frozen).unflatten(0, (-1, samples))
        loss = class_loss(targets, own, local)
        loss = loss + hidden_loss(hidden_targets, student.head(patches[hidden], frozen), hidden)
        spread = sum(spread_loss(view) for view in tokens.unflatten(0, (2, -1)))
        return samples * (loss + settings["spread_weight"] * spread), samples

    def _targets(self, scores, centre, temperature):
        scores = scores.float()
        total, count = self._sums.get(centre, (0, 0))
        self._sums[centre] = total + scores.sum(dim=0), count + len(scores)
        if self.settings["centring"] == "sinkhorn":
            return sinkhorn(scores, temperature) if len(scores) else scores
        return centred(scores, getattr(self, centre), temperature)

    @torch.no_grad()
    def after_step(self, processes):
        """Move the teacher towards the student, and the centres to the scores of the batch."""
        momentum = teacher_momentum(int(self.done), self.steps, self.settings["momentum"])
        for old, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            old.lerp_(new, 1 - momentum)
        for name in ("class_centre", "patch_centre"):
            centre = getattr(self, name)
            total, count = self._sums.get(name, (0, 0))
            sums = torch.cat([centre * 0 + total, centre.new_full((1,), count)])
            processes.sum(sums)
            if sums[-1] > 0:
                centre.copy_(moved_centre(centre, sums[:-1] / sums[-1]))
        self._sums.clear()
        self.done += 1


class KronosTraining:
    """The training of the one model for all cohorts; see rival.py."""

    def __init__(self, job, crops):
        """`job["model"]`: the settings of the rival. InputError if no tissue has the nucleus."""
        self.settings, self.crops = job["model"], crops
        sizes = {field.name for field in fields(KronosConfig)} - {"grid"}
        given = {k: v for k, v in self.settings.items() if k in sizes}
        grid = self.settings["large_view"] // self.settings["patch"]
        self.config = KronosConfig(**given, grid=grid)
        nucleus, markers = self.settings["nucleus"], self.settings["markers"]
        if nucleus not in crops.accessions:
            raise InputError(
                f"settings (config.yaml and its overlays): rivals.kronos: no cohort of the "
                f"training has a channel of {nucleus}, the nucleus marker that every "
                "sample needs; set rivals.kronos.nucleus, or take kronos out of `models`"
            )
        if len(crops.accessions) > ROWS:
            raise InputError(
                f"settings (config.yaml and its overlays): rivals.kronos: {len(crops.accessions)} "
                f"markers, but there are encodings of {ROWS}; train it on fewer cohorts"
            )
        row = crops.accessions.index(nucleus)
        left_out = crops.restrict(lambda t: row in t.ids and len(t.ids) >= markers)
        if left_out:
            log.warning("%d tissues without the nucleus marker %s are left out", left_out, nucleus)
        self.dataset = ViewedCrops(crops, row, self.settings, self.config.patch)

    def build(self, steps):
        """Draw the weights."""
        self.model = SelfDistillation(self.config, self.settings, steps)
        self.objective, self.after_step = self.model, self.model.after_step

    def work(self, views):
        """Return the crops and patch tokens of a micro-batch, all views counted."""
        pixels = views.large.numel() + views.small.numel()
        return Work(views.large.shape[1], pixels // self.config.patch**2)

    def card(self):
        """Return what opening the weights needs: sizes, and which marker each id stands for."""
        return {"model": self.config.to_dict(), "accessions": list(self.crops.accessions)}

    def weights(self):
        """Return the tensors that are kept: the teacher's, without its head."""
        return self.model.teacher.backbone.state_dict()
