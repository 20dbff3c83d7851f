"""Small ingested and published cohorts on disk, as the rules before would have left them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from workflow_scripts.common.images import write_mask, write_ome_zarr
from workflow_scripts.common.model_ready import write_model_ready

STANDARDIZATION = "imc/1_0mpp/standardization/quantile_clipping_log1p/uq_0.99_image"
TABLES = {
    "quantiles": "image_level_upper_quantiles",
    "means": "global_level_means",
    "stds": "global_level_stds",
}


def channel_table(names, accessions):
    return pd.DataFrame(
        {
            "channel_name": names,
            "uniprot_id": pd.Series(accessions, dtype=object),
            "qc_pass": True,
            "is_nuclear_marker": False,
            "description": None,
            "original_channel_name": names,
            "index": range(len(names)),
        }
    )


def write_ingest(folder, images, masks, patients, channels, splits=None, absent=None):
    """Write what ingest leaves: `images` {tissue: [C, H, W]}, `masks` {tissue: [H, W] bool}.

    `absent`: {tissue: [channel names]} that were not measured.
    """
    for name in ("images", "tissue_masks", "cell_masks"):
        (folder / name).mkdir(parents=True)
    for tissue, image in images.items():
        write_ome_zarr(
            folder / "images" / f"{tissue}.ome.zarr", image, channels["channel_name"].tolist(), 64
        )
    for tissue, mask in masks.items():
        write_mask(folder / "tissue_masks" / f"{tissue}.npz", mask)
    channels.to_parquet(folder / "channels.parquet", index=False)
    measured = pd.DataFrame(True, index=list(masks), columns=channels["channel_name"].tolist())
    for tissue, names in (absent or {}).items():
        measured.loc[tissue, names] = False
    measured.to_parquet(folder / "channels_per_tissue.parquet")
    tissues = pd.DataFrame({"tissue_id": list(masks)}, dtype="str")
    tissues["patient_id"] = tissues["tissue_id"].map(patients)
    tissues["split"] = pd.Series([(splits or {}).get(t) for t in masks], dtype=object)
    tissues["height"] = [mask.shape[0] for mask in masks.values()]
    tissues["width"] = [mask.shape[1] for mask in masks.values()]
    tissues.to_parquet(folder / "tissues.parquet", index=False)
    cells = pd.DataFrame({"tissue_id": [t for t in masks for _ in range(3)]}, dtype="str")
    cells["cell_id"] = np.arange(len(cells)) % 3 + 1
    cells.to_parquet(folder / "cells.parquet", index=False)


def split_job(root, split=None, tissue=None, sub_images=None):
    """Return the job of rule split of cohort `c`, over `root`/ingest/c."""
    ingest, cohort = root / "ingest/c", root / "cohorts/c"
    (cohort / "metadata").mkdir(parents=True, exist_ok=True)
    (root / "splits").mkdir(exist_ok=True)
    return SimpleNamespace(
        input=SimpleNamespace(
            tissues=ingest / "tissues.parquet",
            cells=ingest / "cells.parquet",
            images=ingest / "images",
            tissue_masks=ingest / "tissue_masks",
            cell_masks=ingest / "cell_masks",
        ),
        output=SimpleNamespace(
            tissues=cohort / "metadata/tissues.parquet",
            cells=cohort / "metadata/cells.parquet",
            exclusions=cohort / "exclusions.csv",
            sub_images=cohort / "sub_images.parquet",
            split=root / "splits/c.csv",
        ),
        params=SimpleNamespace(
            split={"test_fraction": 0.2, "seed": 0} | (split or {}),
            tissue={"min_side": 256, "min_coverage": 0.3, "mask_sigma": 2.0} | (tissue or {}),
            sub_images={"side": 256, "per_fit": 4, "seed": 0} | (sub_images or {}),
        ),
    )


def preprocess_job(root, threads=1, **settings):
    """Return the job of rule preprocess of cohort `c`, after `split_job` has run."""
    ingest, cohort = root / "ingest/c", root / "cohorts/c"
    tables = cohort / STANDARDIZATION
    tables.mkdir(parents=True, exist_ok=True)
    defaults = {
        "clip_quantile": 0.99,
        "quantile_over": "tissue",
        "statistics_over": "tissue",
        "statistics_images": "all",
        "blur_kernel": 3,
        "blur_sigma": 1.0,
        "chunk": 32,
    }
    return SimpleNamespace(
        input=SimpleNamespace(
            tissues=cohort / "metadata/tissues.parquet",
            channels=ingest / "channels.parquet",
            channels_per_tissue=ingest / "channels_per_tissue.parquet",
            images=ingest / "images",
            tissue_masks=ingest / "tissue_masks",
        ),
        output=SimpleNamespace(
            channels=cohort / "imc/channels.parquet",
            channels_per_tissue=cohort / "imc/channels_per_tissue.parquet",
            model_ready=cohort / "model_ready",
            **{key: tables / f"{name}.parquet" for key, name in TABLES.items()},
        ),
        params=SimpleNamespace(preprocess=defaults | settings),
        wildcards=SimpleNamespace(cohort="c"),
        threads=threads,
    )


def write_published(folder, tissues, sub_images, chunk=32):
    """Write a published cohort: `tissues` {id: (image float16, accessions, split)}."""
    (folder / "model_ready").mkdir(parents=True)
    (folder / "metadata").mkdir()
    for tissue, (image, accessions, _) in tissues.items():
        markers = [f"marker {c}" for c in range(len(accessions))]
        path = folder / "model_ready" / f"{tissue}.zarr"
        write_model_ready(path, image, markers, accessions, chunk)
    table = pd.DataFrame(
        {"tissue_id": list(tissues), "split": [split for _, _, split in tissues.values()]}
    )
    table.to_parquet(folder / "metadata/tissues.parquet", index=False)
    columns = ["tissue_id", "row", "col", "height", "width"]
    pd.DataFrame(sub_images, columns=columns).to_parquet(folder / "sub_images.parquet", index=False)
