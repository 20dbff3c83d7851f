"""What a study will cost: estimates of sub-images, bytes and computation, made before it runs.

Measured sizes are used as soon as they are on disk. Until then a cohort has the images that its
file says were published, and every image the paper's average of sub-images (C002, C003).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workflow_scripts.cohorts.records import read_record
from workflow_scripts.common.cohort import FROM_RECORD, local_path
from workflow_scripts.common.errors import InputError

IMAGES, SUB_IMAGES, COHORTS = 8887, 259_000, 15  # of the whole collection, as the paper counts
RAW, READY = 4, 2  # bytes of a pixel as ingested (float32) and model-ready (float16)


@dataclass(frozen=True)
class Size:
    """How much of a cohort is trained on and stored."""

    images: float
    train_sub_images: float
    pixels: float  # of one channel, all images
    channels: int
    proteins: int  # channels with an accession
    origin: str  # measured | published number of images | average of the collection

    @property
    def stored_bytes(self):
        """Bytes of the images as ingested and model-ready, before compression."""
        return self.pixels * (RAW * self.channels + READY * self.proteins)


def cohort_size(cohort, folder, settings):
    """Return the `Size` of a cohort; `folder`: where its published tables are or will be.

    `settings`: the study's settings (sub_images, split).
    """
    proteins = sum(bool(row.get("uniprot")) for row in cohort.channels)
    channels = len(cohort.channels)
    tissues = Path(folder) / "metadata/tissues.parquet"
    if tissues.exists():
        table = pd.read_parquet(tissues)
        drawn = pd.read_parquet(Path(folder) / "sub_images.parquet")["tissue_id"]
        train = drawn.isin(table.loc[table["split"] == "train", "tissue_id"]).sum()
        pixels = (table["height"] * table["width"]).sum()
        return Size(len(table), int(train), int(pixels), channels, proteins, "measured")
    known = cohort.published.get("images")
    images = known or IMAGES / COHORTS
    per_fit, side = settings["sub_images"]["per_fit"], settings["sub_images"]["side"] or 256
    per_image = SUB_IMAGES / IMAGES
    pixels = images * per_image / per_fit * side**2
    # A cohort that keeps nothing for training still gets its images stored.
    train = 0 if cohort.held_out else images * per_image * (1 - settings["split"]["test_fraction"])
    origin = "published number of images" if known else "average of the collection"
    return Size(images, train, pixels, channels, proteins, origin)


def crop_flops(model, pretrain, channels):
    """Return the expected FLOPs of one crop, forward and backward, for a panel of `channels`.

    Matrix products of the model as published, 2 per weight and token and 4 x width per query and
    key, twice as much backward; hidden shares and left-out channels at their expectation.
    """
    width, positions = model["width"], (pretrain["crop"] // model["patch"]) ** 2
    weights = 4 * width**2 + 2 * width * model["feedforward"]  # of a block
    low, high = pretrain["mask_ratio"]
    seen = 1 - (low + high) / 2
    seen_squared = seen**2 + (high - low) ** 2 / 12  # uniform between both
    kept = channels * (1 - sum(pretrain["channel_dropout"]) / 2)
    tokens = positions * (1 + kept * seen)
    pairs = {
        "h": positions**2 * (1 + kept * seen_squared),
        "v": positions * (1 + kept * seen) ** 2,
    }
    encoder = sum(2 * weights * tokens + 4 * width * pairs[letter] for letter in model["encoder"])
    decoded = 2 * kept * positions
    decoder = len(model["decoder"]) * (2 * weights * decoded + 4 * width * 2 * decoded * positions)
    return 3 * (encoder + decoder)


def training_crops(sizes, pretrain):
    """Return {cohort: crops} of one training on the cohorts of `sizes` {cohort: Size}."""
    trained = {name: size.train_sub_images for name, size in sizes.items()}
    total = sum(trained.values())
    if pretrain["max_steps"] is None or not total:
        return {name: count * pretrain["epochs"] for name, count in trained.items()}
    crops = pretrain["max_steps"] * pretrain["batch"]
    return {name: crops * count / total for name, count in trained.items()}


def training_tflop(instances, sizes, model, pretrain):
    """Return {instance: TFLOP} of whole trainings.

    `instances`: {name: cohorts}; `sizes`: {cohort: Size}; `model`, `pretrain`: those settings.
    """
    work = {}
    for name, cohorts in instances.items():
        crops = training_crops({cohort: sizes[cohort] for cohort in cohorts}, pretrain)
        work[name] = sum(
            count * crop_flops(model, pretrain, sizes[cohort].proteins) / 1e12
            for cohort, count in crops.items()
        )
    return work


def hours(tflop, rate, share):
    """Return the hours that `tflop` take at `share` of a device's `rate` (TFLOP/s)."""
    return tflop / (rate * share) / 3600


def downloads(cohort, folder):
    """Return (bytes, unknown): what is still to be fetched, and files whose size is not known.

    Sizes come from the cohort file or from a record that was asked before; files that are in
    `folder` or on this machine are not fetched.
    """
    known, unknown = 0, []
    for file in cohort.files:
        record = file.get("record", cohort.source.get("record"))
        here = (Path(folder) / file["name"]).exists()
        local = any(local_path(cohort.url(url)) for url in (record, file.get("url")) if url)
        if here or local:
            continue
        size = file.get("size", FROM_RECORD)
        if size == FROM_RECORD:
            size = _recorded(cohort, record, file["name"], folder)
        if size is None:
            unknown.append(file["name"])
        else:
            known += size
    return known, unknown


def _recorded(cohort, record, name, folder):
    if record is None:
        return None
    try:
        return read_record(cohort.url(record), folder, None, offline=True)[name]["size"]
    except (InputError, KeyError, json.JSONDecodeError):
        return None
