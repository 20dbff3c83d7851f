"""Writer of the layout of Jackson, Fischer et al. 2020 (Zenodo 4607374).

Stacks and masks in zips inside a zip, tables of two centres that differ in a few columns. As
published: pages of the stack that no antibody owns, a panel with a blank row and two rows for a
mixture of antibodies, masks called `_maks`, whose labels have gaps while tables count the cells.
"""

from functools import partial

import numpy as np

from demo.simulator.archives import csv_bytes, tiff_bytes, write_zip, zenodo_record, zip_bytes
from demo.simulator.cells import each_cell
from demo.simulator.patients import draw_survival, stained

UNIMAGED_PATIENTS = 0
UNPUBLISHED_TISSUES = 1  # a core of liver
BACKGROUND = ("Ar80", "Ru96", "Ru98", "Ru99", "Ru100", "Ru101", "Ru102", "Ru104")
UNLISTED = 2  # pages after the first antibody's that the panel does not name
TARGETS = {"ER": ("Rabbit IgG H L",), "vWF + CD31": ("vWF", "CD31"), "panCK": ("AE1", "AE3")}
# Of the 27 metaclusters, those that are simulated, with their numbers.
CLUSTERS = {
    "B cells": 1,
    "T cells": 3,
    "macrophages": 4,
    "endothelial": 7,
    "vimentin hi stromal": 8,
    "SMA hi vimentin hi stromal": 13,
    "CK7+ CK+ tumor": 20,
    "CK low HR low tumor": 22,
    "CK+ HR hi tumor": 23,
}
# Of each centre: its tables of patients and of metaclusters, two parts of a file's name.
CENTRES = {
    "BaselTMA": {
        "name": "Basel",
        "patients": "BaselTMA/Basel_PatientMetadata.csv",
        "clusters": "Basel_metaclusters.csv",
        "slide": ("SP41", "15.475kx12.665ky_10000x8500"),
    },
    "ZTMA208": {
        "name": "Zurich",
        "patients": "ZurichTMA/Zuri_PatientMetadata.csv",
        "clusters": "Zurich_matched_metaclusters.csv",
        "slide": ("slide", "28.23kx22.4ky_7000x7000"),
    },
}
CLINICAL = (
    "diseasestatus,grade,tumor_type,clinical_type,PTNM_T,OSmonth,DFSmonth,Patientstatus,response,"
    "age,gender,tumor_size"
).split(",")
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files and columns follow those of Jackson, Fischer et al. 2020 (Zenodo 4607374) where they are
publicly described, with a subset of the channels; tables are CSV there too. How Patientstatus
spells an event is invented, because it is not described.
Not imitated: SC_dat.csv, TumorStroma_masks.zip, some columns of the patient tables.
"""
record = partial(zenodo_record, title="Simulated cohort in the layout of Zenodo 4607374")


def write(folder, section, cohort):
    """Write all files of the record into `folder`; return their paths in the record's order."""
    cores, rng = _cores(cohort), cohort.rng
    images = [(f"ome/ome/{c['file']}_full.tiff", _stack(rng, section, c)) for c in cores]
    masks = [(f"Basel_Zuri_masks/{c['file']}_full_maks.tiff", _mask(rng, c)) for c in cores]
    course = draw_survival(rng, section, cohort.patients)
    cells = list(each_cell([core["tissue"] for core in cores]))
    locations, clusters, tables = [], [], []
    for prefix, centre in CENTRES.items():
        mine = [(cores[i]["core"], *cell) for i, *cell in cells if cores[i]["prefix"] == prefix]
        rows = [[f"{core}_{label}", core, x, y] for core, label, x, y, *_ in mine]
        columns = ["id", "core", "Location_Center_X", "Location_Center_Y"]
        locations.append((f"{centre['name']}_SC_locations.csv", csv_bytes(columns, rows)))
        rows = [[f"{core}_{label}", CLUSTERS[name]] for core, label, *_, name in mine]
        clusters.append(
            (f"Cluster_labels/{centre['clusters']}", csv_bytes(["id", "cluster"], rows))
        )
        here = [core for core in cores if core["prefix"] == prefix]
        tables.append((f"Data_publication/{centre['patients']}", _patients(course, here)))
    clusters.append(("Cluster_labels/Metacluster_annotations.csv", _annotations(section)))
    tables.append(("Data_publication/Basel_Zuri_StainingPanel.csv", _panel(section)))
    nested = {"ome.zip": images, "Basel_Zuri_masks.zip": masks}
    zips = {
        "OMEandSingleCellMasks.zip": [(f"OMEnMasks/{n}", zip_bytes(m)) for n, m in nested.items()],
        "singlecell_locations.zip": locations,
        "singlecell_cluster_labels.zip": clusters,
        "SingleCell_and_Metadata.zip": [*tables, ("README.txt", README.encode())],
    }
    for name, members in zips.items():
        write_zip(folder / name, members)
    return [folder / name for name in zips]


def _cores(cohort):
    """Return a dict per image: file, core, prefix of the centre, tissue, owner and its attributes.

    The last is a core of liver, without an owner.
    """
    cores = []
    tissues = [*cohort.tissues, *cohort.unpublished]
    owners = [*cohort.owners, *[None] * len(cohort.unpublished)]
    for number, (tissue, owner) in enumerate(zip(tissues, owners, strict=True), start=1):
        known = cohort.patients[owner or 0].attributes
        prefix, place = known["centre"], f"{number}{'' if owner is not None else '_Liver'}"
        slide, scan = CENTRES[prefix]["slide"]
        spot = f"X{number}Y{2 * number}_{20 + number}"
        core, file = (
            f"{prefix}_{slide}_{place}_{spot}",
            f"{prefix}_{slide}_{scan}_{place}_{spot}_a0",
        )
        keys = ("file", "core", "prefix", "tissue", "owner", "known")
        cores.append(dict(zip(keys, (file, core, prefix, tissue, owner, known), strict=True)))
    return cores


def _stack(rng, section, core):
    """Return the stack with pages that are no antibody's; an unstained page has background."""
    pages = core["tissue"].image.copy()
    empty = rng.poisson(0.04, (len(BACKGROUND) + UNLISTED, *pages.shape[1:])).astype(np.uint16)
    pages[~stained(section, core["known"])] = empty[0]
    gas, unlisted = np.split(empty, [len(BACKGROUND)])
    return tiff_bytes(np.concatenate([gas, pages[:1], unlisted, pages[1:]]))


def _mask(rng, core):
    """Return the mask with gaps between its labels, which keep their order."""
    mask = core["tissue"].cell_mask
    labels = np.append(0, np.cumsum(rng.integers(1, 4, int(mask.max())))).astype(np.uint16)
    return tiff_bytes(labels[mask])


def _panel(section):
    columns = "Tube Number,Metal Tag,Target,Antibody Clone,Stock Concentration,ilastik"
    columns = [*columns.split(","), "SegmentationStack", "FullStack"]
    rows = [["", metal, metal, "", "", 0, 0, page] for page, metal in enumerate(BACKGROUND, 1)]
    rows.append([""] * len(columns))
    first = len(BACKGROUND) + 1
    for place, entry in enumerate(section["panel"]):
        page = first + place + (UNLISTED if place else 0)
        for target in TARGETS.get(entry["marker"], (entry["marker"],)):
            rows.append([place + 1, entry["channel"], target, "simulated", 500, 1, 1, page])
    return csv_bytes(columns, rows)


def _annotations(section):
    rows = [[n, name, section["cell_types"][name]["category"]] for name, n in CLUSTERS.items()]
    return csv_bytes(["Metacluster ", "Cell type", "Class"], rows, separator=";")


def _patients(course, cores):
    """Return a row per image of one centre; the liver has no patient."""
    (years, died), (until, _) = course["death"], course["relapse"]
    rows = []
    for core in cores:
        tissue, owner, known = core["tissue"], core["owner"], core["known"]
        height, width = tissue.cell_mask.shape
        start = [core["core"], f"{core['file']}_full.tiff", width, height, len(tissue.types)]
        if owner is None:
            rows.append([*start, None, "non-tumor", *[None] * (len(CLINICAL) - 1)])
            continue
        facts = ["tumor", known["grade"], "ductal", known["clinical_type"], 1 + owner % 3]
        facts += [round(12 * years[owner]), round(12 * until[owner])]
        facts += ["death" if died[owner] else "alive", ["Sensitive", "Resistant"][owner % 2]]
        rows.append([*start, 11 + owner, *facts, 45 + 3 * owner, "F", 2])
    columns = ["core", "FileName_FullStack", "Width_FullStack", "Height_FullStack", "Count_Cells"]
    return csv_bytes([*columns, "PID", *CLINICAL], rows)
