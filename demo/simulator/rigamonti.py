"""Writer of the form into which the files of Rigamonti et al. 2024, given on request, are brought.

Nothing of these data is public: names and columns are this workflow's own convention. Stacks and
masks named by tissue in two zips, and tables of the panel, of cells and of patients.
"""

from functools import partial

from demo.simulator.archives import csv_bytes, tiff_bytes, write_zip, zenodo_record
from demo.simulator.cells import each_cell

UNIMAGED_PATIENTS = 0
UNPUBLISHED_TISSUES = 0
ACCESSIONS = {
    "Vimentin": "P08670",
    "aSMA": "P62736",
    "CD20": "P11836",
    "CD68": "P34810",
    "CD3": "P07766",
    "CD14": "P08571",
    "CD63": "P08962",
    "CD8": "P01732",
    "CD31": "P16284",
    "PanCytokeratin": "P02533",
}
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files have the form into which the data of Rigamonti et al. 2024, which are given on request,
are to be brought: two zips and tables as CSV, with a subset of the channels, whose metals are
invented. They come from an address here.
Not imitated: whatever the authors send.
"""
record = partial(zenodo_record, title="Simulated cohort in the form asked for Rigamonti 2024")


def write(folder, section, cohort):
    """Write all files into `folder`; return their paths."""
    names = [f"NSCLC_{101 + 3 * i}" for i in range(len(cohort.tissues))]
    pixels = {"images.zip": "image", "masks.zip": "cell_mask"}
    for name, kind in pixels.items():
        stacks = [tiff_bytes(getattr(tissue, kind)) for tissue in cohort.tissues]
        files = [f"{tissue}.tiff" for tissue in names]
        write_zip(folder / name, list(zip(files, stacks, strict=True)))
    panel = [[e["channel"], e["marker"], ACCESSIONS[e["marker"]]] for e in section["panel"]]
    cells = [[names[i], label, name] for i, label, *_, name in each_cell(cohort.tissues)]
    owners = [[name, f"R{owner + 1:02d}"] for name, owner in zip(names, cohort.owners, strict=True)]
    tables = {
        "panel.csv": csv_bytes(["channel", "marker", "uniprot"], panel),
        "cells.csv": csv_bytes(["image_id", "cell_id", "cell_type"], cells),
        "tissues.csv": csv_bytes(["image_id", "patient_id"], owners),
        "README.txt": README.encode(),
    }
    for name, content in tables.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in [*pixels, *tables]]
