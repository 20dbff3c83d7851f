"""Writer of the layout of Wang et al. 2023 (Zenodo 7990870, given on request).

A folder NTPublic/ with stacks and masks named by ImageID, the panel as two tables, and tables of
cells, of patients at each biopsy and of neighbouring cells. The name of the zip and the place and
name of the masks are not publicly described: they are invented here. Tables that the archive also
holds as .fst, a format of R, are there as CSV only.
"""

from demo.simulator.archives import csv_bytes, tiff_bytes, write_zip, zenodo_record
from demo.simulator.cells import areas, centroids, mean_counts, neighbours

UNIMAGED_PATIENTS = 2
UNPUBLISHED_TISSUES = 0
ROOT = "NTPublic"
TOUCHING = 3  # px between cells that are neighbours
# What the panel table calls these markers.
TARGETS = {
    "PD-L1 (SP142)": "Rabbit",
    "PD-L1 (73-10)": "CD274",
    "panCK": "panKeratin_AE3",
    "Carboplatin": "EMPTY",
}
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files and columns follow those of Wang et al. 2023 (Zenodo 7990870) where they are publicly
described, with a subset of the channels; the metal of each is invented. cells, clinical and IDs are
the CSV beside which the archive holds .fst (a format of R). Invented, because not described: the
name of the zip, the folder and names of the masks. Not imitated: code/, the .fst files.
"""


def write(folder, section, cohort):
    """Write the archive into `folder`; return the paths of the record's files."""
    gaps = cohort.rng.integers(2, 300, len(cohort.tissues)).cumsum().tolist()
    images = [f"NTImg{number}" for number in gaps]
    members = [(f"{ROOT}/README.txt", README.encode())]
    for image, tissue in zip(images, cohort.tissues, strict=True):
        raw = f"{ROOT}/data/raw"
        members += [
            (f"{raw}/images/{image}FullStack.tiff", tiff_bytes(tissue.image)),
            (f"{raw}/masks/{image}CellMask.tiff", tiff_bytes(tissue.cell_mask)),
        ]
    metals = [[entry["channel"]] for entry in section["panel"]]
    derived = f"{ROOT}/data/derived"
    members += [
        (f"{ROOT}/data/raw/panel/metalReadOrder.csv", csv_bytes([], metals, header=False)),
        (f"{ROOT}/data/raw/panel/NeoTripFinalPanelToIMCTools1.csv", _panel(section)),
        (f"{derived}/cells.csv", _cells(section, cohort, images)),
        (f"{derived}/clinical.csv", _clinical(section, cohort)),
        (f"{derived}/IDs.csv", _ids(section, cohort, images)),
        (f"{derived}/neighbours.csv", _neighbours(cohort, images)),
        (f"{derived}/EpClusters.csv", _clusters(section, "epithelial")),
        (f"{derived}/TMEClusters.csv", _clusters(section, "TME")),
    ]
    path = folder / "NTPublic.zip"
    write_zip(path, members)
    return [path]


def record(paths, folder):
    """Return the archive's API answer for `paths`, which will lie in `folder`."""
    return zenodo_record(paths, folder, "Simulated cohort in the layout of Zenodo 7990870")


def _patient_id(index):
    return f"NT{501 + 7 * index}"


def _phases(section, cohort):
    variable = section["visits"]["variable"]
    return [sample.attributes[variable] for sample in cohort.samples]


def _panel(section):
    """Return the antibodies by name, which is not the order of the stack."""
    rows = [[e["channel"], TARGETS.get(e["marker"], e["marker"])] for e in section["panel"]]
    return csv_bytes(["Metal Tag", "Target"], sorted(rows, key=lambda row: row[1].lower()))


def _clusters(section, category):
    """Return the annotation of the cell types: number, label, colour and place in figures."""
    names = [n for n, spec in section["cell_types"].items() if spec["category"] == category]
    rows = [[i, name, _colour(name), i] for i, name in enumerate(names, start=1)]
    return csv_bytes(["ClusterID", "Label", "Colour", "PrintOrder"], rows)


def _colour(name):
    return f"#{sum(ord(sign) * 7919**i for i, sign in enumerate(name)) % 0xFFFFFF:06x}"


def _cells(section, cohort, images):
    """Return 14 columns about each cell, then its mean counts; clumps of antibody have no label."""
    columns = "ImageID,ImageNumber,ObjectNumber,PatientID,BiopsyPhase,isEpithelial,Label".split(",")
    columns += "cellAnnotation,CellClusters,Colour,PrintOrder".split(",")
    columns += ["Location_Center_X", "Location_Center_Y", "AreaShape_Area"]
    columns += [entry["marker"] for entry in section["panel"]]
    types = list(section["cell_types"])
    facts = zip(images, cohort.tissues, cohort.owners, _phases(section, cohort), strict=True)
    rows = []
    for number, (image, tissue, owner, phase) in enumerate(facts, start=1):
        x, y = centroids(tissue.cell_mask)
        size = areas(tissue.cell_mask)
        # CellProfiler rescales 16-bit images to 0..1.
        means = mean_counts(tissue.cell_mask, tissue.image) / 65535
        for i, name in enumerate(tissue.types):
            epithelial = section["cell_types"][name]["category"] == "epithelial"
            order = 1 + types.index(name)
            described = [name, "invasive" if epithelial else "TME", order, _colour(name), order]
            if tissue.aggregate[i]:
                described = [None] * len(described)
            keys = [image, number, i + 1, _patient_id(owner), phase, epithelial]
            geometry = [float(x[i]), float(y[i]), int(size[i])]
            rows.append([*keys, *described, *geometry, *means[i].tolist()])
    return csv_bytes(columns, rows)


def _clinical(section, cohort):
    """Return one row per patient and biopsy, also of patients without an image."""
    rows = []
    for index, patient in enumerate([*cohort.patients, *cohort.unimaged]):
        known = patient.attributes
        facts = [known["pCR"], known["Arm"], known["isPerProtocol"]]
        for phase in section["visits"]["values"]:
            rows.append([_patient_id(index), phase, *facts])
    return csv_bytes(["PatientID", "BiopsyPhase", "pCR", "Arm", "isPerProtocol"], rows)


def _ids(section, cohort, images):
    owners = [_patient_id(owner) for owner in cohort.owners]
    rows = zip(images, owners, _phases(section, cohort), strict=True)
    return csv_bytes(["ImageID", "PatientID", "BiopsyPhase"], rows)


def _neighbours(cohort, images):
    rows = [
        [image, cell, other]
        for image, tissue in zip(images, cohort.tissues, strict=True)
        for cell, other in neighbours(tissue.cell_mask, TOUCHING).tolist()
    ]
    return csv_bytes(["ImageID", "from", "to"], rows)
