"""A cohort that is already in the spora layout: metadata, channels, OME-Zarr images, npz masks."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from workflow_scripts.cohorts.readers import Source, Tissue
from workflow_scripts.cohorts.readers.archives import damaged
from workflow_scripts.cohorts.readers.cells import read_cells, read_neighbours
from workflow_scripts.cohorts.readers.files import Files
from workflow_scripts.cohorts.readers.panel import PRIVATE, read_panel
from workflow_scripts.cohorts.readers.tables import read_table
from workflow_scripts.cohorts.readers.tissues import RESERVED, describe, leave_out
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.images import read_mask, read_ome_zarr

TISSUES = "metadata/tissues.parquet"
MEASURED = "channels_per_tissue.parquet"
MASKS = "segmentations/{resolution}/cell_masks/instances"
CHANNEL_FACTS = ("qc_pass", "is_nuclear_marker", "description", "original_channel_name")


def read(folder, cohort):
    """Return the `Source` of a folder in the spora layout (settings: modality, resolution).

    Patients, specimens, the split and every further column of tissues.parquet are taken over,
    unless the cohort file says otherwise.
    """
    files, layout = Files(folder, cohort), cohort.layout
    modality, resolution = layout.get("modality", "imc"), layout.get("resolution", "1_0mpp")
    panel = _with_facts(read_panel(files, cohort), files, f"{modality}/channels.parquet")
    table = read_table(files, {"file": TISSUES}).set_index("tissue_id")
    table = _of_modality(table, modality)
    found, warnings = leave_out({tissue: None for tissue in table.index}, layout.get("exclude", []))
    table = table.loc[list(found)]
    absent = _absent(files, f"{modality}/{MEASURED}", table.index, list(panel["channel_name"]))
    described, notes = describe(_groups(table), files, _settings(cohort, table))
    cells, cell_notes = read_cells(files, cohort, list(table.index))
    neighbours, pair_notes = read_neighbours(files, cohort, list(table.index))
    original = table.get("original_file_name", pd.Series(table.index, table.index))
    clinical = described.drop(columns=["tissue_id", "patient_id", "specimen_id", "split"])
    clinical = clinical.astype(object)  # a row of numbers alone must not become all floats
    tissues = []
    for row in described.itertuples():
        image = files.folder / modality / resolution / "images" / f"{row.tissue_id}.ome.zarr"
        mask = files.folder / MASKS.format(resolution=resolution) / f"{row.tissue_id}.npz"
        tissues.append(
            Tissue(
                tissue_id=row.tissue_id,
                patient_id=row.patient_id,
                specimen_id=row.specimen_id,
                original_file_name=original[row.tissue_id],
                load_image=partial(_image, image, list(panel["channel_name"])),
                load_mask=partial(_labels, mask) if mask.exists() else None,
                mask_name=str(mask) if mask.exists() else None,
                split=row.split,
                clinical=clinical.loc[row.Index].to_dict(),
                absent=absent[row.tissue_id],
            )
        )
    return Source(panel, tissues, cells, warnings + notes + cell_notes + pair_notes, neighbours)


def _absent(files, name, tissues, channels):
    """Return {tissue: names of the channels that it lacks}, none without the table `name`."""
    if not (files.folder / name).exists():
        return dict.fromkeys(tissues, ())
    table = read_table(files, {"file": name})
    table = table.set_index("tissue_id" if "tissue_id" in table else table.columns[0])
    unknown = [t for t in tissues if t not in table.index] + [c for c in channels if c not in table]
    if unknown:
        raise InputError(
            f"{name}: no entry for '{unknown[0]}' and {len(unknown) - 1} more; it needs a row per "
            "tissue and a column per channel: complete it, or remove it if all are measured."
        )
    table = table.loc[tissues, channels].astype(bool)
    return {
        tissue: tuple(table.columns[~row])
        for tissue, row in zip(tissues, table.to_numpy(), strict=True)
    }


def _of_modality(table, modality):
    """Return the tissues of one modality: a cohort in this layout may hold several."""
    if "modality" not in table:
        return table
    chosen = table[table["modality"].isna() | (table["modality"] == modality)]
    if chosen.empty:
        raise InputError(
            f"{TISSUES}: none of its {len(table)} tissues has the modality '{modality}', they have "
            f"{', '.join(sorted(set(table['modality'])))}; correct layout.modality."
        )
    return chosen


def _with_facts(panel, files, name):
    """Add what channels.parquet says beyond names and accessions."""
    table = read_table(files, {"file": name}).set_index("channel_name")
    unknown = [channel for channel in panel["original_channel_name"] if channel not in table.index]
    if unknown or len(table) != len(panel):
        raise InputError(
            f"{name} has {len(table)} channels and the panel names {len(panel)}"
            f"{', among them ' + unknown[0] if unknown else ''}; correct the panel."
        )
    order = {channel: index for index, channel in enumerate(table.index)}
    panel = panel.drop(columns=PRIVATE)
    panel = panel.sort_values("original_channel_name", key=lambda c: c.map(order)).reset_index(
        drop=True
    )
    panel["index"] = range(len(panel))
    for fact in CHANNEL_FACTS:
        if fact in table:
            values = table[fact].to_numpy(dtype=object)
            panel[fact] = values.astype(bool) if fact in CHANNEL_FACTS[:2] else values
    return panel


def _groups(table):
    """Return {tissue id: the columns that every cohort has}, in the place of named groups."""
    common = table[[name for name in table.columns if name in RESERVED]]
    return dict(zip(common.index, common.to_dict("records"), strict=True))


def _settings(cohort, table):
    """Return the cohort with what the layout itself defines, where its file says nothing."""
    further = [name for name in table.columns if name not in RESERVED | {"index"}]
    tissues = {"file": TISSUES, "by": {"tissue": "tissue_id"}, "columns": further}
    split = {"column": "split", "train": ["train"], "test": ["test"]}
    return replace(
        cohort,
        clinical=[tissues, *cohort.clinical],
        patient="{patient_id}" if cohort.patient == "{patient}" else cohort.patient,
        specimen="{specimen_id}" if cohort.specimen == "{tissue}" else cohort.specimen,
        split=cohort.split or (split if "split" in table else None),
    )


def _image(path, names):
    try:
        image, labels = read_ome_zarr(path)
    except Exception as error:  # zarr and its codecs raise many kinds for a missing or cut store
        raise damaged(path, error) from None
    if labels != names:
        raise InputError(
            f"{path}: the image names {len(labels)} channels and channels.parquet {len(names)}, "
            "or in another order; correct channels.parquet."
        )
    return image.astype(np.float32, copy=False)


def _labels(path):
    try:
        return read_mask(path)
    except Exception as error:  # a cut npz fails as a zip, as zlib data or as an array
        raise damaged(path, error) from None
