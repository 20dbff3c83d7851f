"""Writer of the layout of Schulz et al. 2024 (Zenodo 12912567), images of the IMMUcan consortium.

A zip of float stacks and masks of equal names, and cell types: a SingleCellExperiment (.rds) in the
archive, here the CSV that a conversion of its colData gives.
"""

from functools import partial

import numpy as np

from demo.simulator.archives import csv_bytes, tiff_bytes, write_zip, zenodo_record
from demo.simulator.cells import each_cell

UNIMAGED_PATIENTS = 0
UNPUBLISHED_TISSUES = 0
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files and columns follow those of Schulz et al. 2024 (Zenodo 12912567) where they are publicly
described, with a subset of the channels. sce_labelled_V3_colData.csv is the table of
sce_labelled_V3.rds, in the form that a conversion of its colData to CSV gives. Invented, because
not described: the folders of the zip, the part of a name before the number of the slide.
Not imitated: the other .rds objects.
"""
record = partial(zenodo_record, title="Simulated cohort in the layout of Zenodo 12912567")


def write(folder, section, cohort):
    """Write both files into `folder`; return their paths."""
    slides = [f"{10089821 + 117 * owner}-SPECT-VAR-TIS-UNST-03" for owner in cohort.owners]
    names = [f"IMMUcan_batch2021_{slide}_{i + 1:03d}" for i, slide in enumerate(slides)]
    members = [("README.txt", README.encode())]
    for name, tissue in zip(names, cohort.tissues, strict=True):
        members += [
            (f"img/{name}.tiff", tiff_bytes(tissue.image.astype(np.float32))),
            (f"masks/{name}.tiff", tiff_bytes(tissue.cell_mask)),
        ]
    images, table = folder / "images_masks.zip", folder / "sce_labelled_V3_colData.csv"
    write_zip(images, members)
    table.write_bytes(_cells(cohort, slides, names))
    return [images, table]


def _cells(cohort, slides, names):
    """Return a row per cell; one that a clump of antibody hit has no label."""
    rows = []
    for index, label, *_, name in each_cell(cohort.tissues):
        indication = cohort.samples[index].attributes["Indication"]
        hit = cohort.tissues[index].aggregate[label - 1]
        keys = [f"{names[index]}.tiff", names[index], label, indication, slides[index], index + 1]
        rows.append([*keys, "unlabelled" if hit else name])
    columns = ["image", "sample_id", "ObjectNumber", "Indication", "SlideId", "ROI", "cell_labels"]
    return csv_bytes(columns, rows)
