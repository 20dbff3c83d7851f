"""Read a cohort's archives into one form: images at 1 um, masks, tables, and what was noticed."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.cohorts.overlap import check_overlap
from workflow_scripts.cohorts.pixels import (
    block_size,
    centroids,
    clean,
    stride_blocks,
    sum_blocks,
    to_micrometre,
)
from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.cohorts.summary import PAIR, measured_channels, shown, summarise
from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.images import write_mask, write_ome_zarr
from workflow_scripts.common.job import log, run
from workflow_scripts.common.staging import staged
from workflow_scripts.common.tissue import tissue_mask

CELLS = ["tissue_id", "cell_id", "x", "y"]
NO_PAIRS = {"tissue_id": "str", "from": "int64", "to": "int64"}


def ingest(source, cohort, folders, sigma, threads=1):
    """Write the tissues of a `Source`; returns the tables tissues and cells, and the summary.

    `folders`: paths under the keys images, cell_masks, tissue_masks; `sigma` in um is that of the
    tissue mask. `threads` tissues are in memory at a time: decoding, filtering and compression
    leave the interpreter free for each other.
    """
    block = block_size(cohort.pixel_size, cohort.path)
    names = list(source.panel["channel_name"])
    no_rows = None if source.cells is None else source.cells.iloc[:0]
    rows = {} if source.cells is None else dict(tuple(source.cells.groupby("tissue_id")))
    spec = cohort.cells or {}
    pairing = {key: spec[key] for key in ("min_overlap", "align") if key in spec}
    settings = {"names": names, "block": block, "sigma": sigma, "pairing": pairing}
    work = partial(ingest_tissue, folders=folders, **settings)
    pool, results = ThreadPoolExecutor(threads), []
    try:
        cells = [rows.get(tissue.tissue_id, no_rows) for tissue in source.tissues]
        for tissue, result in zip(
            source.tissues, pool.map(work, source.tissues, cells), strict=True
        ):
            results.append(result)
            _check_missing(tissue, results, source, cohort)
    finally:
        pool.shutdown(cancel_futures=True)
    parts = [result["cells"] for result in results if len(result["cells"])]
    cells = pd.concat(parts, ignore_index=True) if parts else _no_cells(no_rows)
    tissues = [
        _tissue_row(tissue, result, cohort)
        for tissue, result in zip(source.tissues, results, strict=True)
    ]
    return pd.DataFrame(tissues), cells, summarise(source, results, cells, cohort, block)


def ingest_tissue(tissue, cells, folders, names, block, sigma, pairing):
    """Write image and masks of one `Tissue`; returns what its row and the summary need (a dict).

    `cells` are its rows of the cell table, None where the cohort has no such table: then every
    label of the mask is a cell. Without a mask a tissue has no cells, nor with a mask that does
    not belong to the table by `pairing`, the settings of `check_overlap`.
    """
    image, bad_pixels = clean(tissue.load_image())
    mask = None if tissue.load_mask is None else tissue.load_mask()
    if mask is not None and mask.shape != image.shape[1:]:
        raise InputError(
            f"{tissue.mask_name}: the mask is {mask.shape[0]} x {mask.shape[1]} pixels and the "
            f"image of tissue {tissue.tissue_id} is {image.shape[1]} x {image.shape[2]}; bring "
            "the mask that belongs to the image."
        )
    image = sum_blocks(image, block)
    covered = tissue_mask(image, sigma)
    write_ome_zarr(folders["images"] / f"{tissue.tissue_id}.ome.zarr", image, names)
    write_mask(folders["tissue_masks"] / f"{tissue.tissue_id}.npz", covered)
    pair = None
    if mask is not None and cells is not None and len(cells):
        cells, pair = check_overlap(cells, mask, **pairing)
    if pair is not None and not pair.accepted:
        found = {"cells": pd.DataFrame(), "missing": [], "lost": 0}
    elif mask is None:
        unmasked = 0 if cells is None else len(cells)
        found = {"cells": pd.DataFrame(), "missing": [], "lost": 0, "unmasked": unmasked}
    else:
        small = stride_blocks(mask, block)
        write_mask(folders["cell_masks"] / f"{tissue.tissue_id}.npz", small)
        found = locate_cells(tissue.tissue_id, cells, mask, small, block)
    log.info("tissue %s: image %s, %d cells", tissue.tissue_id, image.shape, len(found["cells"]))
    return found | {
        "height": image.shape[1],
        "width": image.shape[2],
        "tissue_fraction": float(covered.mean()),
        "bad_pixels": bad_pixels,
        "pair": pair,
    }


def locate_cells(tissue_id, cells, mask, small, block):
    """Return the cells with a pixel in `small`, the mask [H, W] at 1 um, with x and y in um.

    Rows of the table `cells` without a pixel in the archive's own `mask` are "missing" (ids);
    those that only the coarser pixels lose are "lost" (a number).
    """
    found = centroids(small)
    if cells is None:
        found.insert(0, "tissue_id", tissue_id)
        return {"cells": found, "missing": [], "lost": 0}
    missing = np.setdiff1d(cells["cell_id"], mask)
    kept = cells[cells["cell_id"].isin(found["cell_id"])].copy()
    centres = found.set_index("cell_id").loc[kept["cell_id"]]
    for axis in ("x", "y"):
        theirs = to_micrometre(kept[axis].to_numpy(), block)
        kept[axis] = np.where(np.isnan(theirs), centres[axis].to_numpy(), theirs)
    lost = len(cells) - len(kept) - len(missing)
    return {"cells": kept, "missing": missing.tolist(), "lost": lost}


def _check_missing(tissue, results, source, cohort):
    """Raise InputError once more cells are missing from their masks than the cohort tolerates."""
    missing = sum(len(result["missing"]) for result in results)
    if missing and missing > cohort.cells.get("missing_tolerance", 0.0) * len(source.cells):
        last = results[-1]["missing"]
        raise InputError(
            f"{cohort.cells['file']}: tissue {tissue.tissue_id} names {len(last)} cells that are "
            f"not in the mask {tissue.mask_name}: {shown(last)}; bring the masks that belong to "
            "the table, or set cells.missing_tolerance to the share of cells you accept to lose."
        )


def _tissue_row(tissue, result, cohort):
    return {
        "tissue_id": tissue.tissue_id,
        "dataset": cohort.id,
        "patient_id": tissue.patient_id,
        "specimen_id": tissue.specimen_id,
        "modality": cohort.modality,
        "original_file_name": tissue.original_file_name,
        "split": tissue.split,
        **{key: result[key] for key in ("height", "width", "tissue_fraction")},
        **tissue.clinical,
    }


def _no_cells(like):
    """Return a cell table of zero rows, with the label columns of `like` where there are any."""
    if like is not None:
        return like
    types = dict(zip(CELLS, ("str", "int64", "float64", "float64"), strict=True))
    return pd.DataFrame({name: [] for name in CELLS}).astype(types)


def listed_pairs(source):
    """Return the pairs of neighbours that the cohort lists; no rows where it lists none."""
    if source.neighbours is not None:
        return source.neighbours
    return pd.DataFrame({name: [] for name in NO_PAIRS}).astype(NO_PAIRS)


def main(snakemake):
    """Ingest one cohort; nothing appears under the outputs' names before all of it is there."""
    output, params = snakemake.output, snakemake.params
    cohort = load_cohort(snakemake.input.cohort)
    # A cohort on disk has nothing retrieved; otherwise its files lie beside retrieved.json.
    folder = cohort.folder or Path(snakemake.input.retrieved).parent
    source = read_source(folder, cohort)
    log.info("%s: %d channels, %d tissues", cohort.id, len(source.panel), len(source.tissues))
    folders = (output.images, output.cell_masks, output.tissue_masks)
    tables = (output.channels, output.tissues, output.cells, output.neighbours)
    tables += (output.channels_per_tissue,)
    texts = (output.exclusions, output.summary)
    with staged(*folders, *tables, *texts) as parts:
        for folder in parts[:3]:
            folder.mkdir()
        folders = dict(zip(("images", "cell_masks", "tissue_masks"), parts, strict=False))
        sigma = params.mask_sigma
        tissues, cells, summary = ingest(source, cohort, folders, sigma, snakemake.threads)
        written = (source.panel, tissues, cells, listed_pairs(source))
        for table, part in zip(written, parts[3:7], strict=True):
            table.to_parquet(part, index=False)
        measured_channels(source).to_parquet(parts[7])
        pd.DataFrame(summary["unfit_pairs"], columns=PAIR).to_csv(parts[8], index=False)
        parts[9].write_text(json.dumps(summary, indent=1) + "\n")
    for warning in summary["warnings"]:
        log.warning("%s", warning)


if __name__ == "__main__":
    run(main, globals())
