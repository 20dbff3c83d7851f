"""Train one VirTues instance (Methods, "Pretraining")."""

import hashlib
import json
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from virtues_core import (
    VirTues,
    VirTuesConfig,
    independent_mask,
    pack,
    save_weights,
    squared_error_sum,
)
from workflow_scripts.common.crops import TrainingCrops
from workflow_scripts.common.device import check_device
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


class MicroBatches(Sampler):
    """The crops of each micro-batch, as numbers of the endless stream of crops."""

    def __init__(self, first_step, steps, settings):
        self.steps = range(first_step, steps)
        self.batch, self.micro_batch = settings["batch"], settings["micro_batch"]

    def __iter__(self):
        for step in self.steps:
            for offset in range(0, self.batch, self.micro_batch):
                end = min(offset + self.micro_batch, self.batch)
                yield list(range(step * self.batch + offset, step * self.batch + end))


def micro_batches(dataset, steps, settings):
    """Return a function that yields packed micro-batches from a given step on."""

    def stream(first_step):
        return DataLoader(
            dataset,
            batch_sampler=MicroBatches(first_step, steps, settings),
            collate_fn=partial(pack_crops, patch=dataset.patch),
            num_workers=settings["workers"],
            pin_memory=torch.cuda.is_available(),
        )

    return stream


def pack_crops(items, patch):
    """Pack crops in the loader's process, so that a training step only computes."""
    images, channels, masks = zip(*items, strict=True)
    return pack(images, channels, masks, patch)


def cohort_hash(folder):
    """Return a hash of what decides a cohort's training crops: split, windows and statistics."""
    folder = Path(folder)
    tables = [folder / "metadata/tissues.parquet", folder / "sub_images.parquet"]
    tables += [folder / "imc/channels.parquet", *sorted(folder.glob("imc/*/standardization/*/*/*"))]
    return hashlib.sha256("".join(map(sha256, tables)).encode()).hexdigest()


def mean(losses):
    """Return the mean of some losses, None of none."""
    return sum(losses) / len(losses) if losses else None


def main(snakemake):
    """Train, then write weights, the model's configuration and the training's metrics."""
    device = snakemake.params.device
    # What only says how the run is operated comes from the configuration: see rules/pretrain.smk.
    settings = snakemake.config["pretrain"] | snakemake.params.settings
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
        "settings": snakemake.params.settings | {"model": snakemake.params.model},
        "code": snakemake.params.code,
        "embeddings": sha256(snakemake.input.embeddings),
        "cohorts": {folder: cohort_hash(folder) for folder in snakemake.params.cohort_folders},
    }
    checkpoint = Checkpoint(snakemake.params.checkpoint_folder, fingerprint)

    def objective(packed):
        packed = packed.to(device, non_blocking=True)
        return squared_error_sum(model(packed), packed)

    losses, seconds = train(
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
        "seconds": seconds,
        "seed": settings["seed"],
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "weights_sha256": sha256(snakemake.output.weights),
        "provenance": provenance(),
    }
    Path(snakemake.output.metrics).write_text(json.dumps(metrics, indent=1))
    checkpoint.remove()
    log.info("loss from %s to %s", metrics["first_loss"], metrics["last_loss"])


if __name__ == "__main__":
    run(main, globals())
