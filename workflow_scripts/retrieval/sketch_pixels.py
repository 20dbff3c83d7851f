"""Sliced 2-Wasserstein distances between the pixels of all tissues of a cohort (D21)."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.images import read_ome_zarr
from workflow_scripts.common.job import log, run
from workflow_scripts.common.staging import staged
from workflow_scripts.retrieval.distances import (
    directions,
    pixel_sketch,
    sliced_wasserstein_matrix,
)

QUANTILES = 512  # of each projection; the error they cause is far below that of 128 directions


def central_window(image, side):
    """Return the central `side` x `side` pixels of an image [C, H, W], all where it is smaller."""
    height, width = image.shape[1:]
    top, left = max(height - side, 0) // 2, max(width - side, 0) // 2
    return image[:, top : top + side, left : left + side]


def raw_image(folder, tissue_id, markers):
    """Return the counts [C, H, W] of the channels called `markers`, as measured."""
    image, names = read_ome_zarr(f"{folder}/imc/1_0mpp/images/{tissue_id}.ome.zarr")
    return image[[names.index(marker) for marker in markers]]


def common_channels(tissues):
    """Return the markers that every tissue has, in the order of the first."""
    shared = set.intersection(*(set(tissue.markers) for tissue in tissues))
    return [marker for marker in tissues[0].markers if marker in shared]


def sketches(tissue, folder, markers, side, vectors):
    """Return the sketches [T, Q] of one tissue: of its counts and of its standardised image."""
    places = [tissue.markers.index(marker) for marker in markers]
    images = raw_image(folder, tissue.id, markers), tissue.image(places)
    windows = (central_window(image, side).reshape(len(markers), -1) for image in images)
    return [pixel_sketch(window, vectors, QUANTILES) for window in windows]


def main(snakemake):
    """Sketch the tissues that were embedded and measure all pairs."""
    params = snakemake.params
    with np.load(snakemake.input.tokens) as file:
        wanted = file["tissues"].tolist()
    cohort = CohortFiles(params.cohort_folder)
    tissues = [tissue for tissue in cohort.tissues() if tissue.id in set(wanted)]
    raw, standardised = np.empty((0, 1, 1)), np.empty((0, 1, 1))
    if tissues:
        markers = common_channels(tissues)
        vectors = directions(params.projections, len(markers), params.seed)
        with ThreadPoolExecutor(snakemake.threads) as pool:
            parts = pool.map(
                lambda tissue: sketches(tissue, cohort.folder, markers, params.side, vectors),
                tissues,
            )
            raw, standardised = (np.stack(kind) for kind in zip(*parts, strict=True))
        log.info("%d tissues, %d channels, %d directions", len(tissues), *vectors.shape[::-1])
    with staged(snakemake.output.distances) as (part,), part.open("wb") as file:
        np.savez(
            file,
            tissues=pd.Series([tissue.id for tissue in tissues], dtype=str).to_numpy(str),
            raw=sliced_wasserstein_matrix(raw),
            standardised=sliced_wasserstein_matrix(standardised),
        )


if __name__ == "__main__":
    run(main, globals())
