"""Writer of the layout of Danenberg et al. 2022 (Zenodo 6036188).

One zip with the root MBTMEIMCPublic/: float stacks and masks named by patient and ImageNumber, one
table of cells, one clinical table, the panel and the order of the stack. Patients are written
MB-9000 in tables and MB9000 in file names. The archive holds the clinical table and the neighbours
with their TME structures as .fst, a format of R; here they are the CSV that a conversion gives.
Masks and table of one image disagree, as in the record before its masks were corrected.
"""

import numpy as np

from demo.simulator.archives import csv_bytes, tiff_bytes, write_zip, zenodo_record
from demo.simulator.cells import areas, centroids, mean_counts, near_border, neighbours
from demo.simulator.patients import draw_survival

UNIMAGED_PATIENTS = 1
UNPUBLISHED_TISSUES = 0
ROOT = "MBTMEIMCPublic"
INTERFACE = 15  # px from the border of the tumour
TOUCHING = 3  # px between cells that are neighbours
# The ten published structures in their printed order; the niches of the simulation are four.
STRUCTURES = (
    "Suppressed expansion",
    "APC enriched",
    "TLS-like",
    "Active IR",
    "FSP1^{+} enriched",
    "Active stroma",
    "PDPN^{+} active stroma",
    "CD8^{+} & macrophages",
    "Granulocyte enriched",
    "Vascular stroma",
)
SECONDARY = {"ER": "Rabbit IgG (H+L)"}  # the panel names the secondary antibody here
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files and columns follow those of Danenberg et al. 2022 (Zenodo 6036188) where they are
publicly described, with a subset of the channels. IMCClinical.csv and CellNeighbours.csv are the
tables that the archive holds as IMCClinical.fst and CellNeighbours.fst (a format of R), in the form
that a conversion to CSV gives. CellNeighbours lists every pair of neighbours from both sides, with
the structure of the cell in `from`, or NA where the edge leaves it, unless all edges of a cell do;
cells of the tumour are in none. The masks of the last image number its cells in another order than
the tables.
Not imitated: the .fst files and the annotation workbooks.
"""


def write(folder, section, cohort):
    """Write the archive into `folder`; return the paths of the record's files."""
    gaps = cohort.rng.integers(1, 90, len(cohort.tissues))
    numbers = np.cumsum(gaps).tolist()  # ImageNumber has gaps, as published
    members = [(f"{ROOT}/README.txt", README.encode())]
    for number, tissue, owner in zip(numbers, cohort.tissues, cohort.owners, strict=True):
        masks = [tissue.cell_mask, tissue.nucleus_mask]
        if number == numbers[-1]:
            masks = [_renumbered(mask, len(tissue.types)) for mask in masks]
        stem = f"{ROOT}/Images/{_metabric_id(owner).replace('-', '')}_{number}"
        members += [
            (f"{stem}_FullStack.tiff", tiff_bytes(tissue.image.astype(np.float32))),
            (f"{stem}_CellMask.tiff", tiff_bytes(masks[0])),
            (f"{stem}_NucleusMask.tiff", tiff_bytes(masks[1])),
        ]
    epitopes = [entry["marker"] for entry in section["panel"]]
    order = [[entry["channel"], entry["marker"]] for entry in section["panel"]]
    members += [
        (f"{ROOT}/SingleCells.csv", _single_cells(section, cohort, numbers, epitopes)),
        (f"{ROOT}/IMCClinical.csv", _clinical(section, cohort)),
        (f"{ROOT}/CellNeighbours.csv", _neighbours(cohort, numbers)),
        (f"{ROOT}/TMEStructuresAnnotation.csv", _structures()),
        (f"{ROOT}/AbPanel.csv", _panel(section)),
        (f"{ROOT}/markerStackOrder.csv", csv_bytes(["Isotope", "Epitope"], order)),
    ]
    path = folder / "MBTMEStrIMCPublic.zip"
    write_zip(path, members)
    return [path]


def record(paths, folder):
    """Return the archive's API answer for `paths`, which will lie in `folder`."""
    return zenodo_record(paths, folder, "Simulated cohort in the layout of Zenodo 6036188")


def _renumbered(mask, cells):
    """Return the mask with its labels 1..cells in reverse order."""
    return np.where(mask > 0, cells + 1 - mask, 0).astype(mask.dtype)


def _metabric_id(index):
    return f"MB-{9000 + index}"


def _single_cells(section, cohort, numbers, epitopes):
    columns = "ImageNumber,ObjectNumber,metabric_id,cellPhenotype,is_epithelial,is_tumour".split(
        ","
    )
    columns += "is_normal,is_dcis,is_interface,is_perivascular,is_hotAggregate".split(",")
    columns += [*epitopes, "AreaShape_Area", "Location_Center_X", "Location_Center_Y"]
    rows = []
    for number, tissue, owner in zip(numbers, cohort.tissues, cohort.owners, strict=True):
        mask = tissue.cell_mask
        x, y = centroids(mask)
        tumour = tissue.niche_map == tissue.niches.index("Tumour")
        interface = near_border(tumour, mask, INTERFACE)
        means, size = mean_counts(mask, tissue.image), areas(mask)
        for i, name in enumerate(tissue.types):
            epithelial = int(section["cell_types"][name]["category"] == "epithelial")
            perivascular = int(tissue.cell_niches[i] == "Vascular stroma")
            flags = [epithelial, epithelial, 0, 0, int(interface[i]), perivascular]
            flags.append(int(tissue.aggregate[i]))
            geometry = [int(size[i]), float(x[i]), float(y[i])]
            keys = [number, i + 1, _metabric_id(owner), name]
            rows.append([*keys, *flags, *means[i].tolist(), *geometry])
    return csv_bytes(columns, rows)


def _neighbours(cohort, numbers):
    """Return the edges between neighbouring cells, with the printed order of their structure."""
    order = {name: number for number, name in enumerate(STRUCTURES, start=1)}
    rows = []
    for number, tissue, owner in zip(numbers, cohort.tissues, cohort.owners, strict=True):
        structures = [order.get(name) for name in tissue.cell_niches]
        edges = neighbours(tissue.cell_mask, TOUCHING).tolist()
        inside = {cell for cell, other in edges if structures[cell - 1] == structures[other - 1]}
        for cell, other in edges:
            leaves = cell in inside and structures[cell - 1] != structures[other - 1]
            structure = None if leaves else structures[cell - 1]
            rows.append([cell, other, number, _metabric_id(owner), structure])
    return csv_bytes(["from", "to", "ImageNumber", "metabric_id", "TMEStructure"], rows)


def _structures():
    rows = [[n, f"#{n * 1644825:06x}", name] for n, name in enumerate(STRUCTURES, start=1)]
    return csv_bytes(["print_order", "colours", "Label"], rows)


def _clinical(section, cohort):
    """Return one row per patient, also of those without an image."""
    columns = "metabric_id,ERStatus,ERBB2_pos,Grade,PAM50,IntClust,LymphNodesOrdinal".split(",")
    columns += "sizeOrdinal,yearsToStatus,DeathBreast,isValidation".split(",")
    patients = [*cohort.patients, *cohort.unimaged]
    years, died = draw_survival(cohort.rng, section, patients)["death"]
    rows = []
    for index, patient in enumerate(patients):
        known = patient.attributes
        imaged = index < len(cohort.patients)
        rows.append(
            [
                _metabric_id(index),
                known["ERStatus"] if imaged else None,
                known["ERBB2_pos"],
                known["Grade"],
                known["PAM50"],
                int(cohort.rng.integers(1, 11)),
                int(cohort.rng.integers(0, 4)),
                int(cohort.rng.integers(1, 4)),
                float(years[index]),
                int(died[index]),
                bool(cohort.rng.random() < 0.25),
            ]
        )
    return csv_bytes(columns, rows)


def _panel(section):
    """Return the antibodies in the order of the stack; one column has no name, as published."""
    columns = "tubenumber,metaltag,target,antibodyclone,stockconcentration".split(",")
    columns += ["finalconcentrationdilution", "ultoadd", "ilastik", "full", "to_sort", ""]
    columns += ["function_order"]
    rows = []
    for tube, entry in enumerate(section["panel"], start=1):
        target = SECONDARY.get(entry["marker"], entry["marker"])
        rows.append([tube, entry["channel"], target, "simulated", 500, 5, 1, 1, 1, "", "", tube])
    return csv_bytes(columns, rows)
