"""Writer of the layout of Zhu et al. 2025 (Synapse syn54951674), as the authors' own folders are.

Float stacks and masks of human slides in two zips, and the panel, whose order is that of the pages.
The project is behind a login, and which of its folders hold what is not public: the zips are what a
user packs by hand.
"""

from functools import partial

import numpy as np

from demo.simulator.archives import csv_bytes, tiff_bytes, write_zip, zenodo_record

UNIMAGED_PATIENTS = 0
UNPUBLISHED_TISSUES = 0
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files follow the folders of Zhu et al. 2025 (Synapse syn54951674) where public code names them,
packed as a user would by hand, with a subset of the channels. They come from an address here.
images.csv and RawPanel.csv are CSV there too.
Not imitated: raw files per channel, TIGIT on another metal in some slides, mouse images, cell types
(in an R object), clinical workbooks, masks limited to cells of 10 to 160 px.
"""
record = partial(zenodo_record, title="Simulated cohort in the layout of Synapse syn54951674")


def write(folder, section, cohort):
    """Write all files into `folder`; return their paths."""
    names, seen = [], {}
    for owner in cohort.owners:
        seen[owner] = seen.get(owner, 0) + 1
        names.append(f"H16-{1024 + 31 * owner}-A{seen[owner]}-ROI{seen[owner]:03d}")
    stacks = [tiff_bytes(tissue.image.astype(np.float32)) for tissue in cohort.tissues]
    masks = [tiff_bytes(tissue.cell_mask) for tissue in cohort.tissues]
    zips = {"img.zip": ("img", stacks), "masks_deepcell.zip": ("masks_deepcell", masks)}
    for name, (root, files) in zips.items():
        members = [(f"{root}/{n}.tiff", file) for n, file in zip(names, files, strict=True)]
        write_zip(folder / name, members)
    tables = {
        "RawPanel.csv": csv_bytes(["name"], [[entry["channel"]] for entry in section["panel"]]),
        "images.csv": _images(cohort, names),
        "README.txt": README.encode(),
    }
    for name, content in tables.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in [*zips, *tables]]


def _images(cohort, names):
    columns = "image,width_px,height_px,num_channels,acquisition_width_um,acquisition_height_um"
    rows = []
    for name, tissue in zip(names, cohort.tissues, strict=True):
        channels, height, width = tissue.image.shape
        rows.append([f"{name}.tiff", width, height, channels, width, height])
    return csv_bytes(columns.split(","), rows)
