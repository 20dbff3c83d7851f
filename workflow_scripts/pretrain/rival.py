"""The training of a rival by the engine that trains VirTues, as one of any number of processes."""

import json

import torch
from safetensors.torch import save_file

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.crops import TrainingCrops
from workflow_scripts.common.job import log
from workflow_scripts.common.training.checkpoint import Checkpoint
from workflow_scripts.common.training.loop import train
from workflow_scripts.common.training.processes import Processes
from workflow_scripts.common.training.schedules import total_steps
from workflow_scripts.common.training.watch import Watch, tensorboard
from workflow_scripts.pretrain.batches import Batches
from workflow_scripts.pretrain.camae_training import CamaeTraining
from workflow_scripts.pretrain.instance import fingerprint, staged_output, write_metrics
from workflow_scripts.pretrain.kronos_training import KronosTraining

# A training has `crops`, `dataset` (micro-batches by the numbers of their crops) and, once
# `build(steps)` has been called, `model`, `objective`, `work`, `after_step`, `card` and `weights`.
TRAININGS = {"camae": CamaeTraining, "kronos": KronosTraining}


def train_rival(job, processes=None):
    """Train, then let the first process write weights, the model's configuration and metrics.

    `job`: the plain dict that rule pretrain_rival makes of itself.
    """
    processes = processes or Processes()
    settings, device = job["settings"], job["device"]
    torch.set_num_threads(max(1, job["threads"] // settings["processes"]))
    training = processes.together(lambda: TRAININGS[job["rival"]](job, read_crops(job)))
    crops = training.crops
    if not len(crops):
        log.warning("no sub-image can be trained on: the weights stay as they were drawn")
    steps = total_steps(settings, len(crops)) if len(crops) else 0
    hands = processes.rank, processes.size
    batches = Batches(training.dataset, steps, settings, *hands, pinned=device == "cuda")
    torch.manual_seed(settings["seed"])
    training.build(steps)
    training.model.to(device)
    checkpoint = Checkpoint(
        job["checkpoint_folder"],
        processes.together(lambda: fingerprint(job)),
        window=max(1, len(crops) // settings["batch"]),
    )
    board = None
    if settings["tensorboard"] and processes.rank == 0:
        board = tensorboard(job["tensorboard_folder"])
    losses, seconds = train(
        training.model,
        lambda batch: training.objective(batch.to(device)),
        batches,
        steps,
        settings,
        device,
        checkpoint,
        processes,
        Watch(training.work, processes.size, board=board),
        training.after_step,
    )
    if processes.rank == 0:
        weights = {k: v.detach().cpu().contiguous() for k, v in training.weights().items()}
        parameters = sum(p.numel() for p in training.model.parameters() if p.requires_grad)
        with staged_output(job) as out:
            save_file(weights, out["weights"])
            out["config"].write_text(json.dumps(training.card(), indent=1))
            changed = checkpoint.changed
            write_metrics(job, out, parameters, len(crops), losses, seconds, changed)
        checkpoint.remove()


def read_crops(job):
    """Return the training crops of the job's cohorts: channels of its panel, or with accessions."""
    cohorts = map(CohortFiles, job["cohort_folders"])
    accessions = {accession for cohort in cohorts for accession in cohort.accessions()}
    accessions = sorted(accessions & set(job["panel"] or accessions))
    settings = job["settings"]
    return TrainingCrops(
        job["cohort_folders"], accessions, settings["crop"], (0.0, 0.0), settings["seed"]
    )
