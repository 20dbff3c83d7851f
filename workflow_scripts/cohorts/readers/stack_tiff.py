"""One multi-channel TIFF per tissue, masks beside it, in a folder or in archives."""

from functools import partial

import numpy as np

from workflow_scripts.cohorts.readers import Source, Tissue
from workflow_scripts.cohorts.readers.cells import read_cells, read_neighbours
from workflow_scripts.cohorts.readers.files import Files
from workflow_scripts.cohorts.readers.panel import PRIVATE, order_panel, read_panel
from workflow_scripts.cohorts.readers.tiff import full_scaled, read_labels, read_stack
from workflow_scripts.cohorts.readers.tissues import (
    absent_channels,
    describe,
    leave_out,
    match_files,
)


def read(folder, cohort):
    """Return the `Source` of a cohort whose layout has images, and perhaps masks and an order."""
    files, layout = Files(folder, cohort), cohort.layout
    panel, pages = read_panel(files, cohort), None
    if "order" in layout:
        panel = order_panel(panel, files, layout["order"], layout.get("targets"))
        pages = list(panel["page"]) if "page" in layout["order"] else None
    images, warnings = leave_out(match_files(files, layout["images"]), layout.get("exclude", []))
    loaders = {
        tissue: partial(read_stack, file, len(panel), pages) for tissue, (file, _) in images.items()
    }
    return build(files, cohort, panel, images, loaders, warnings)


def build(files, cohort, panel, images, loaders, warnings, absent=None):
    """Return the `Source` for `images`, {tissue: (File, named groups)}, and their `loaders`.

    What all kinds of TIFF cohorts have in common: masks, clinical table and cell table. `absent`
    says per tissue which channels [C] (bool) its files lack; from the panel alone unless given.
    """
    masks, mask_notes = _masks(files, cohort.layout.get("masks"))
    table, notes = describe({t: groups for t, (_, groups) in images.items()}, files, cohort)
    images = {tissue: images[tissue] for tissue in table["tissue_id"]}
    cells, cell_notes = read_cells(files, cohort, list(images))
    neighbours, pair_notes = read_neighbours(files, cohort, list(images))
    absent = absent or {tissue: absent_channels(panel, tissue) for tissue in images}
    without, unused = sorted(set(images) - set(masks)), sorted(set(masks) - set(images))
    if masks and without:
        notes.append(f"{len(without)} tissues have no cell mask: {', '.join(without[:10])}")
    if unused:
        notes.append(f"{len(unused)} cell masks have no image: {', '.join(unused[:10])}")
    factor = cohort.layout["images"].get("full_scale")
    clinical = table.drop(columns=["tissue_id", "patient_id", "specimen_id", "split"])
    clinical = clinical.astype(object)  # a row of numbers alone must not become all floats
    tissues = []
    for row in table.itertuples():
        load_mask, mask_name = masks.get(row.tissue_id, (None, None))
        missing = absent[row.tissue_id]
        tissues.append(
            Tissue(
                tissue_id=row.tissue_id,
                patient_id=row.patient_id,
                specimen_id=row.specimen_id,
                original_file_name=getattr(images[row.tissue_id][0], "name", None),
                load_image=partial(_image, loaders[row.tissue_id], missing, factor),
                load_mask=load_mask,
                mask_name=mask_name,
                split=row.split,
                clinical=clinical.loc[row.Index].to_dict(),
                absent=tuple(panel["channel_name"][missing]),
            )
        )
    warnings = warnings + mask_notes + notes + cell_notes + pair_notes
    return Source(panel.drop(columns=PRIVATE), tissues, cells, warnings, neighbours)


def _masks(files, spec):
    """Return {tissue: (loader, name)} of the masks, and warnings."""
    if spec is None:
        return {}, []
    if spec.get("optional") and not files.has(spec.get("archive", ())):
        return {}, [f"masks {spec.get('archive')} are absent; {spec.get('hint', 'no cells')}"]
    found = match_files(files, spec).items()
    options = (spec.get("full_scale"), spec.get("labels") == "rank")
    return {t: (partial(read_labels, file, *options), str(file)) for t, (file, _) in found}, []


def _image(load, absent, factor):
    image = load()
    if factor is not None:
        image = full_scaled(image, factor)
    if absent.any():
        image[np.flatnonzero(absent)] = 0
    return image
