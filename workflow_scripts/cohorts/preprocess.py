"""Measure a cohort's clip quantiles, means and stds, and write its model-ready images.

Two passes over the images: what to standardise with is known only after the last of them.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.images import read_mask, read_ome_zarr
from workflow_scripts.common.job import log, run
from workflow_scripts.common.model_ready import write_model_ready
from workflow_scripts.common.preprocessing import (
    cohort_moments,
    constant_channels,
    gaussian_kernel,
    image_statistics,
    standardise,
    without_channels,
)


def read_tissue(tissue_id, images, masks, names):
    """Return image [C, H, W] and tissue mask [H, W] of a tissue.

    Raises InputError if they, or the image and the cohort's channel `names`, do not fit.
    """
    path = Path(images) / f"{tissue_id}.ome.zarr"
    image, labels = read_ome_zarr(path)
    if labels != names:
        raise InputError(
            f"{path}: its channels are {labels}, expected {names} as in the cohort's channel "
            "table; correct the panel and run ingest again"
        )
    mask = read_mask(Path(masks) / f"{tissue_id}.npz")
    if mask.shape != image.shape[1:]:
        raise InputError(
            f"{path}: image of {image.shape[1]} x {image.shape[2]} px, but its tissue mask has "
            f"{mask.shape[0]} x {mask.shape[1]}; run ingest again"
        )
    return image, mask


def measure(tissue_id, measured, read, names, settings):
    """First pass: return the ImageStatistics of a tissue; InputError if a pixel is not a number.

    Channels that were not `measured` [C] (bool) in it have no part in any statistic.
    """
    image, mask = read(tissue_id)
    odd = np.flatnonzero(np.isnan(image.max(axis=(1, 2))))
    if len(odd):
        raise InputError(
            f"tissue {tissue_id}: channel {names[odd[0]]} has pixels that are not a number, "
            "expected counts; correct the file or leave the tissue out of the cohort"
        )
    statistics = image_statistics(
        image,
        mask,
        settings["clip_quantile"],
        settings["quantile_over"],
        settings["statistics_over"],
    )
    return statistics if measured.all() else without_channels(statistics, ~measured)


def pool(statistics, splits, over, names):
    """Pool the statistics of all tissues: means, stds [C] and which channels to leave out [C].

    `over` is all or train (D7). A channel is constant if it is so over the training images: a
    model cannot learn it. A cohort without training images is judged by all of its images.
    """
    train = [one for one, split in zip(statistics, splits, strict=True) if split == "train"]
    if statistics and not train:
        log.warning("no training image: statistics over all %d images", len(statistics))
    train = train or statistics
    means, stds = cohort_moments(train if over == "train" else statistics, len(names))
    constant = constant_channels(train, len(names))
    never = np.isnan(means) & (sum(np.sum(one.count) for one in statistics) > 0)
    for channel in np.flatnonzero(never):
        log.warning("marker %s was measured in none of the images: left out", names[channel])
    for channel in np.flatnonzero(constant):
        log.warning(
            "marker %s is constant over all %d training images, after clipping: left out",
            names[channel],
            len(train),
        )
    return means, stds, constant | never


def usable_channels(channels, cohort):
    """Return the rows of the channel table that a model may see: quality passed, accession known.

    Raises InputError if there is none.
    """
    named, passed = channels["uniprot_id"].notna(), channels["qc_pass"].astype(bool)
    log.info(
        "%d channels: %d without accession and %d that fail quality are left out",
        len(channels),
        (~named).sum(),
        (named & ~passed).sum(),
    )
    usable = np.flatnonzero(named & passed)
    if len(usable) == 0:
        raise InputError(
            f"cohort {cohort}: none of its {len(channels)} channels has an accession and varies "
            "over the training images; add the accessions to the panel of the cohort file"
        )
    return usable


def prepare(tissue_id, quantiles, measured, read, folder, scale, usable, channels, chunk):
    """Second pass: standardise a tissue and write it to `folder`; returns its number of pixels.

    Written are those of the `usable` places in the table `channels` that were `measured` in it.
    """
    image, mask = read(tissue_id)
    places = usable[measured[usable]]
    result = standardise(image, quantiles, channels=places, **scale)
    markers, accessions = (channels[name].iloc[places] for name in ("channel_name", "uniprot_id"))
    path = folder / f"{tissue_id}.zarr"
    write_model_ready(path, result, markers.tolist(), accessions.tolist(), chunk)
    return mask.size


def write_statistics(files, tissue_ids, statistics, means, stds, names):
    """Write the three tables in the form of the published ones: float32, a column per channel."""
    quantiles = np.array([one.quantiles for one in statistics]).reshape(-1, len(names))
    index = pd.Index(tissue_ids, dtype="str")
    pd.DataFrame(quantiles, index=index, columns=names, dtype="float32").to_parquet(files.quantiles)
    for path, values in ((files.means, means), (files.stds, stds)):
        pd.DataFrame([values], columns=names, dtype="float32").to_parquet(path)


def main(snakemake):
    """Measure all tissues, pool, write the tables, then write every model-ready image."""
    files, out, settings = snakemake.input, snakemake.output, snakemake.params.preprocess
    tissues, channels = pd.read_parquet(files.tissues), pd.read_parquet(files.channels)
    ids, names = tissues["tissue_id"].tolist(), channels["channel_name"].tolist()
    measured = pd.read_parquet(files.channels_per_tissue).loc[ids, names]
    read = partial(read_tissue, images=files.images, masks=files.tissue_masks, names=names)
    folder = Path(out.model_ready)
    shutil.rmtree(folder, ignore_errors=True)  # of tissues that have since been excluded
    folder.mkdir(parents=True)
    # Threads: nearly all time is spent where NumPy and Blosc have released the interpreter.
    with ThreadPoolExecutor(snakemake.threads) as workers:
        first = partial(measure, read=read, names=names, settings=settings)
        statistics = list(workers.map(first, ids, measured.to_numpy()))
        log.info("measured %d tissues of %d channels", len(ids), len(names))
        over = settings["statistics_images"]
        means, stds, constant = pool(statistics, tissues["split"], over, names)
        channels["qc_pass"] = channels["qc_pass"].astype(bool) & ~constant
        usable = usable_channels(channels, snakemake.wildcards.cohort)
        channels.to_parquet(out.channels, index=False)
        measured.to_parquet(out.channels_per_tissue)
        write_statistics(out, ids, statistics, means, stds, names)
        second = partial(
            prepare,
            read=read,
            folder=folder,
            scale={
                "means": means,
                "stds": stds,
                "kernel": gaussian_kernel(settings["blur_kernel"], settings["blur_sigma"]),
            },
            usable=usable,
            channels=channels,
            chunk=settings["chunk"],
        )
        quantiles = [one.quantiles for one in statistics]
        pixels = sum(workers.map(second, ids, quantiles, measured.to_numpy()))
    log.info("wrote %d images of %d channels, %d pixels", len(ids), len(usable), pixels)


if __name__ == "__main__":
    run(main, globals())
