"""The training of one VirTues instance, as one of any number of processes."""

import hashlib
import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from virtues_core import VirTues, VirTuesConfig, loss_backward, save_weights
from virtues_core.attention.missing import compiler
from workflow_scripts.common.crops import TrainingCrops
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log
from workflow_scripts.common.markers import read_embeddings
from workflow_scripts.common.provenance import provenance, sha256
from workflow_scripts.common.staging import staged
from workflow_scripts.common.training.checkpoint import Checkpoint
from workflow_scripts.common.training.loop import train
from workflow_scripts.common.training.processes import Processes
from workflow_scripts.common.training.schedules import total_steps
from workflow_scripts.common.training.watch import Watch, peak_flops, tensorboard
from workflow_scripts.pretrain.batches import Batches, MicroBatches
from workflow_scripts.pretrain.cost import work_of


def train_instance(job, processes=None):
    """Train, then let the first process write weights, the model's configuration and metrics.

    `job`: the plain dict that rule pretrain makes of itself.
    """
    processes = processes or Processes()
    settings, device = job["settings"], job["device"]
    torch.set_num_threads(max(1, job["threads"] // settings["processes"]))
    torch.manual_seed(settings["seed"])
    accessions, embeddings = processes.together(lambda: known_markers(job))
    config = VirTuesConfig(**job["model"], marker_width=embeddings.shape[1])
    model = VirTues(config, embeddings).to(device)
    crops, batches = processes.together(lambda: read_crops(job, accessions, processes))
    if not len(crops):
        log.warning("no sub-image passed the filters: the weights stay as they were drawn")
    checkpoint = Checkpoint(
        job["checkpoint_folder"],
        processes.together(lambda: fingerprint(job)),
        window=max(1, len(crops) // settings["batch"]),
    )
    if device == "cuda" and settings["compile"]:
        processes.together(check_compiler)
        model.compile_blocks()
    board = None
    if settings["tensorboard"] and processes.rank == 0:
        board = tensorboard(job["tensorboard_folder"])
    peak = peak_flops(device, settings["precision"])
    losses, seconds = train(
        model,
        GroupedLoss(model, device),
        batches,
        batches.steps,
        settings,
        device,
        checkpoint,
        processes,
        Watch(work_of(config), processes.size, peak, board),
    )
    if processes.rank == 0:
        write(job, model, accessions, len(crops), losses, seconds, checkpoint.changed)
        checkpoint.remove()


def check_compiler():
    """Refuse to compile blocks on a machine that lacks a C compiler or Python's headers."""
    if lack := compiler():
        raise InputError(
            f"pretrain.compile: {lack}; install it on the machines with GPUs, or set "
            "pretrain.compile: false, which is slower"
        )


def known_markers(job):
    """Return accessions and embeddings of the markers that the instance may see."""
    accessions, embeddings = read_embeddings(job["embeddings"])
    panel = job["panel"]
    if panel is None:
        return accessions, embeddings
    lacking = [accession for accession in panel if accession not in accessions]
    if lacking:
        raise InputError(
            f"{job['embeddings']}: no embedding of {panel[lacking[0]]} ({lacking[0]}), a marker of "
            f"the panel of {job['instance']}; expected one of each; remove it from "
            f"instances.{job['instance']}.panel, or add it to the table"
        )
    rows = [row for row, accession in enumerate(accessions) if accession in panel]
    return [accessions[row] for row in rows], embeddings[rows]


class GroupedLoss:
    """The objective of VirTues: squared errors, decoded and differentiated by groups of channels.

    Equal to the loss of the whole batch but for rounding, with a fraction of its memory.
    """

    def __init__(self, model, device):
        self.model, self.device = model, device

    def backward(self, packed, scale):
        """Add the gradient of a micro-batch; returns the sum of squared errors and the pixels."""
        packed = packed.to(self.device, non_blocking=True)
        weights = self.model.decoder.head.weight
        packed = replace(packed, images=packed.images.to(weights.dtype))
        return loss_backward(self.model, packed, scale(packed.images.numel()))


def read_crops(job, accessions, processes):
    """Return the training crops of the instance's cohorts, and this process's micro-batches."""
    settings = job["settings"]
    crops = TrainingCrops(
        job["cohort_folders"],
        accessions,
        settings["crop"],
        settings["channel_dropout"],
        settings["seed"],
    )
    steps = total_steps(settings, len(crops)) if len(crops) else 0
    on_gpu = job["device"] == "cuda"
    dataset = MicroBatches(crops, job["model"]["patch"], settings["mask_ratio"], round_up=on_gpu)
    hands = processes.rank, processes.size
    return crops, Batches(dataset, steps, settings, *hands, pinned=on_gpu)


def fingerprint(job):
    """Return what a run must share with a checkpoint: all that decides a number."""
    markers = {"embeddings": sha256(job["embeddings"])} if "embeddings" in job else {}
    return {
        **job["tracked"],
        **markers,
        "cohorts": {folder: cohort_hash(folder) for folder in job["cohort_folders"]},
    }


def cohort_hash(folder):
    """Return a hash of what decides a cohort's training crops: split, windows and statistics."""
    folder = Path(folder)
    tables = [folder / "metadata/tissues.parquet", folder / "sub_images.parquet"]
    tables += [folder / "imc/channels.parquet", *sorted(folder.glob("imc/*/standardization/*/*/*"))]
    return hashlib.sha256("".join(map(sha256, tables)).encode()).hexdigest()


def write(job, model, accessions, sub_images, losses, seconds, changed):
    """Write the outputs of the rule."""
    card = {"model": model.config.to_dict(), "accessions": accessions}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    with staged_output(job) as out:
        save_weights(model, out["weights"])
        out["config"].write_text(json.dumps(card, indent=1))
        write_metrics(job, out, parameters, sub_images, losses, seconds, changed)


@contextmanager
def staged_output(job):
    """Yield the paths to write the job's outputs to; they get their names when all are written."""
    with staged(*job["output"].values()) as parts:
        yield dict(zip(job["output"], parts, strict=True))


def write_metrics(job, out, parameters, sub_images, losses, seconds, changed):
    """Write how a training went, beside its weights; `out`: the paths of both.

    `changed`: settings that were not the same all the way, as its checkpoint lists them.
    """
    settings = job["settings"]
    metrics = {
        "instance": job["instance"],
        "cohorts": [Path(folder).name for folder in job["cohort_folders"]],
        "panel": job["panel"],
        "steps": len(losses),
        "epochs": len(losses) * settings["batch"] / max(1, sub_images),
        "sub_images": sub_images,
        "parameters": parameters,
        "first_loss": mean(losses[:10]),
        "last_loss": mean(losses[-10:]),
        "losses": losses,
        "changed_on_the_way": changed,
        "seconds": seconds,
        "seed": settings["seed"],
        "device": torch.cuda.get_device_name() if job["device"] == "cuda" else "cpu",
        "processes": settings["processes"] * settings["nodes"],
        "weights_sha256": sha256(out["weights"]),
        "provenance": provenance(),
    }
    out["metrics"].write_text(json.dumps(metrics, indent=1))
    log.info("loss from %s to %s", metrics["first_loss"], metrics["last_loss"])


def mean(losses):
    """Return the mean of some losses, None of none."""
    return sum(losses) / len(losses) if losses else None
