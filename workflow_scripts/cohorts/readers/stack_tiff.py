"""One multi-channel TIFF per tissue, masks beside it, in a folder or in zip archives."""

from functools import partial

from workflow_scripts.cohorts.readers import Source, Tissue
from workflow_scripts.cohorts.readers.cells import read_cells
from workflow_scripts.cohorts.readers.files import Files
from workflow_scripts.cohorts.readers.panel import order_panel, read_panel
from workflow_scripts.cohorts.readers.tiff import read_labels, read_stack
from workflow_scripts.cohorts.readers.tissues import describe, leave_out, match_files


def read(folder, cohort):
    """Return the `Source` of a cohort whose layout has images, and perhaps masks and an order."""
    files, layout = Files(folder, cohort), cohort.layout
    panel = read_panel(files, cohort)
    if "order" in layout:
        panel = order_panel(panel, files, layout["order"], layout.get("targets"))
    images, warnings = leave_out(match_files(files, layout["images"]), layout.get("exclude", []))
    loaders = {
        tissue: partial(read_stack, file, len(panel)) for tissue, (file, _) in images.items()
    }
    return build(files, cohort, panel, images, loaders, warnings)


def build(files, cohort, panel, images, loaders, warnings):
    """Return the `Source` for `images`, {tissue: (File, named groups)}, and their `loaders`.

    What all kinds of TIFF cohorts have in common: masks, clinical table and cell table.
    """
    masks = match_files(files, cohort.layout["masks"]) if "masks" in cohort.layout else {}
    table, notes = describe({t: groups for t, (_, groups) in images.items()}, files, cohort)
    cells, cell_notes = read_cells(files, cohort, list(images))
    without = sorted(set(images) - set(masks))
    if masks and without:
        notes.append(f"{len(without)} tissues have no cell mask: {', '.join(without[:10])}")
    clinical = table.drop(columns=["tissue_id", "patient_id", "specimen_id", "split"])
    clinical = clinical.astype(object)  # a row of numbers alone must not become all floats
    tissues = []
    for row in table.itertuples():
        mask = masks.get(row.tissue_id, (None,))[0]
        tissues.append(
            Tissue(
                tissue_id=row.tissue_id,
                patient_id=row.patient_id,
                specimen_id=row.specimen_id,
                original_file_name=getattr(images[row.tissue_id][0], "name", None),
                load_image=loaders[row.tissue_id],
                load_mask=partial(read_labels, mask) if mask else None,
                mask_name=str(mask) if mask else None,
                split=row.split,
                clinical=clinical.loc[row.Index].to_dict(),
            )
        )
    return Source(panel.drop(columns="aliases"), tissues, cells, warnings + notes + cell_notes)
