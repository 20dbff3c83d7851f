"""Train one VirTues instance (Methods, "Pretraining")."""

import json
import time
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from virtues_core import (
    VirTues,
    VirTuesConfig,
    independent_mask,
    pack,
    save_weights,
    squared_error_sum,
)
from workflow_scripts.common.crops import TrainingCrops
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.markers import read_embeddings
from workflow_scripts.common.provenance import provenance, sha256
from workflow_scripts.common.training import Checkpoint, total_steps, train


class MaskedCrops(Dataset):
    """Crops with their masks; crop `i` is the same in every run, whoever loads it."""

    def __init__(self, crops, patch, mask_ratio):
        self.crops, self.patch, self.mask_ratio = crops, patch, mask_ratio

    def __getitem__(self, index):
        image, channels = self.crops[index]
        generator = torch.Generator().manual_seed(self.crops.seed * 2**32 + index)
        side = image.shape[-1] // self.patch
        mask = independent_mask(len(image), (side, side), self.mask_ratio, generator)
        return torch.from_numpy(image), torch.from_numpy(channels), mask


def micro_batches(dataset, steps, settings):
    """Return a function that yields packed micro-batches from a given step on."""

    def stream(first_step):
        batch, micro = settings["batch"], settings["micro_batch"]
        starts = (step * batch for step in range(first_step, steps))
        index_lists = [
            list(range(start + offset, start + min(offset + micro, batch)))
            for start in starts
            for offset in range(0, batch, micro)
        ]
        return DataLoader(
            dataset,
            batch_sampler=index_lists,
            collate_fn=partial(pack_crops, patch=dataset.patch),
            num_workers=settings["workers"],
            pin_memory=torch.cuda.is_available(),
        )

    return stream


def pack_crops(items, patch):
    """Pack crops in the loader's process, so that a training step only computes."""
    images, channels, masks = zip(*items, strict=True)
    return pack(images, channels, masks, patch)


def check_device(device):
    """Refuse to fall back silently to a CPU when the study asks for a GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "config.yaml: device: cuda was asked for but torch sees no GPU; run on a GPU node, "
            "install a CUDA build of torch, or set `device: cpu`"
        )


def mean(losses):
    """Return the mean of some losses, None of none."""
    return sum(losses) / len(losses) if losses else None


def main(snakemake):
    """Train, then write weights, the model's configuration and the training's metrics."""
    settings, device = snakemake.params.settings, snakemake.params.device
    check_device(device)
    torch.set_num_threads(snakemake.threads)
    torch.manual_seed(settings["seed"])
    accessions, embeddings = read_embeddings(snakemake.input.embeddings)
    crops = TrainingCrops(
        snakemake.params.cohort_folders,
        accessions,
        settings["crop"],
        settings["channel_dropout"],
        settings["seed"],
    )
    steps = total_steps(settings, len(crops)) if len(crops) else 0
    if not steps:
        log.warning("no sub-image passed the filters: the weights stay as they were drawn")
    config = VirTuesConfig(**snakemake.params.model, marker_width=embeddings.shape[1])
    model = VirTues(config, embeddings).to(device)
    dataset = MaskedCrops(crops, snakemake.params.model["patch"], settings["mask_ratio"])
    fingerprint = {
        "settings": settings | {"model": snakemake.params.model},
        "code": snakemake.params.code,
        "embeddings": sha256(snakemake.input.embeddings),
        "sub_images": len(crops),
    }
    checkpoint = Checkpoint(snakemake.params.checkpoint_folder, fingerprint)

    def objective(packed):
        packed = packed.to(device, non_blocking=True)
        return squared_error_sum(model(packed), packed)

    started = time.monotonic()
    losses = train(
        model,
        objective,
        micro_batches(dataset, steps, settings),
        steps,
        settings,
        device,
        checkpoint,
    )
    save_weights(model, snakemake.output.weights)
    card = {"model": config.to_dict(), "accessions": accessions}
    Path(snakemake.output.config).write_text(json.dumps(card, indent=1))
    metrics = {
        "instance": snakemake.wildcards.instance,
        "cohorts": [Path(folder).name for folder in snakemake.params.cohort_folders],
        "steps": steps,
        "epochs": steps * settings["batch"] / max(1, len(crops)),
        "sub_images": len(crops),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "first_loss": mean(losses[:10]),
        "last_loss": mean(losses[-10:]),
        "losses": losses,
        "seconds": time.monotonic() - started,
        "seed": settings["seed"],
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "weights_sha256": sha256(snakemake.output.weights),
        "provenance": provenance(),
    }
    Path(snakemake.output.metrics).write_text(json.dumps(metrics, indent=1))
    log.info("loss from %s to %s", metrics["first_loss"], metrics["last_loss"])


if __name__ == "__main__":
    run(main, globals())
