"""Writer of the layout of Cords et al. 2024 (Zenodo 7961844).

One zip with a raw .mcd file per block of a tissue microarray, whose acquisitions are the images;
a zip of masks, one of cell tables, one of clinical tables. The cell table is a SingleCellExperiment
(.rds) in the archive; here it is the CSV that a conversion of its colData gives. As published: some
masks lie in the folder of another block or carry its name, and one acquisition with a mask is
unreadable.
"""

import numpy as np

from demo.simulator.archives import csv_bytes, tiff_bytes, write_zip, zenodo_record
from demo.simulator.cells import areas, centroids
from demo.simulator.mcd import Acquisition, mcd_bytes
from demo.simulator.patients import draw_survival

UNIMAGED_PATIENTS = 0
UNPUBLISHED_TISSUES = 1
# Three of the eighteen files, with the block that each holds.
BLOCKS = (
    ("20201228_LC_NSCLC_TMA_175_B", "175_B"),
    ("20210104_LC_NSCLC_TMA_176_A", "176_A"),
    ("2020120_LC_NSCLC_TMA_86_C", "86_C"),
)
UNREADABLE = 90  # number of the acquisition of the first block that holds no pixels
BACKGROUND = (("Ar80", "80ArAr"), ("Xe131", "131Xe"))  # channels without an antibody
COMBINED = {
    "Collagen I + Fibronectin": ("Collagen I", "Fibronectin"),
    "CD31 + vWF": ("CD31", "vWF"),
}
DAYS = 365.25
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files and columns follow those of Cords et al. 2024 (Zenodo 7961844) where they are publicly
described, with 3 of the 18 blocks and a subset of the channels. sce_all_annotated_colData.csv is
the cell table of sce_all_annotated.rds, in the form that a conversion of its colData to CSV gives.
The layout of "Cell masks.zip" is that of the masks which public code reads.
Not imitated: the .rds objects, other files of comp_csv_files.zip, some columns of colData.
"""
COLUMNS = (
    "DX.name,Age,Gender,Grade,Stage,T.new,N,M.new,Smok,Relapse,DFS,OS,Ev.O,LN.Met,Dist.Met,NeoAdj"
).split(",")


def write(folder, section, cohort):
    """Write all files of the record into `folder`; return their paths in the record's order."""
    cores = _cores(cohort)
    records = _records(cohort.rng, section, cohort.patients)
    labels = [f"{_short(entry['marker'])}_{1000 + i}" for i, entry in enumerate(section["panel"])]
    channels = [(e["channel"], label) for e, label in zip(section["panel"], labels, strict=True)]
    paths = []
    for name, block in BLOCKS:
        here = [core for core in cores if core["block"] == block]
        if not here:
            continue
        acquisitions = [_acquisition(cohort.rng, core) for core in here]
        path = folder / f"{name}.mcd.zip"
        write_zip(path, [(f"{name}.mcd", mcd_bytes(acquisitions, [*BACKGROUND, *channels]))])
        paths.append(path)
    zips = {
        "comp_csv_files.zip": [
            ("cp_csv/clinical_data_ROI.csv", _clinical(cores, records)),
            ("cp_csv/panel.csv", _panel(channels, section)),
        ],
        "Cell masks.zip": _masks(cores),
        "SingleCellExperiment Objects.zip": [
            ("sce_all_annotated_colData.csv", _cells(cores, records, section)),
            ("README.txt", README.encode()),
        ],
    }
    for name, members in zips.items():
        write_zip(folder / name, members)
    return [*paths, *(folder / name for name in zips)]


def record(paths, folder):
    """Return the archive's API answer for `paths`, which will lie in `folder`."""
    return zenodo_record(paths, folder, "Simulated cohort in the layout of Zenodo 7961844")


def _cores(cohort):
    """Return a dict per image: block, number of the acquisition, tissue and its patient's index."""
    blocks = [BLOCKS[index % len(BLOCKS)] for index in range(len(cohort.tissues))]
    numbers = (1 + np.cumsum(cohort.rng.integers(1, 12, len(blocks)))).tolist()  # with gaps
    blocks += [BLOCKS[0]] * len(cohort.unpublished)
    numbers += [UNREADABLE] * len(cohort.unpublished)
    tissues = [*cohort.tissues, *cohort.unpublished]
    owners = [*cohort.owners, *([0] * len(cohort.unpublished))]
    keys = ("file", "block", "number", "tissue", "owner")
    return [
        dict(zip(keys, (*block, number, tissue, owner), strict=True))
        for block, number, tissue, owner in zip(blocks, numbers, tissues, owners, strict=True)
    ]


def _acquisition(rng, core):
    image = core["tissue"].image
    gas = rng.poisson(2, (len(BACKGROUND), *image.shape[1:]))
    readable = core["number"] != UNREADABLE
    return Acquisition(core["number"], np.concatenate([gas, image]), readable)


def _short(marker):
    return marker.split(" ")[0][:7].replace("_", "")


def _masks(cores):
    members = []
    for core in cores:
        named = {"176_A": "176_B"}.get(core["block"], core["block"])  # a slip of the archive
        stem = core["file"].replace(core["block"], named)
        name = f"{stem}_s0_a{core['number']}_ac_mask.tiff"
        content = tiff_bytes(core["tissue"].cell_mask)
        members.append((f"{core['block']}_mask/masks/{name}", content))
        if core["block"] == "86_C":  # the folder of another block holds a copy
            members.append((f"86_B_mask/masks/{name}", content))
    return members


def _records(rng, section, patients):
    """Return the clinical values {column: value} of each patient; what has no effect is drawn."""
    course = draw_survival(rng, section, patients)
    (years, died), (until, relapsed) = course["death"], course["relapse"]
    records = []
    for index, patient in enumerate(patients):
        known = patient.attributes
        nodal = known["LN.Met"] == "LN Metastases"
        records.append(
            {
                "DX.name": known["DX.name"],
                "Age": int(rng.integers(45, 82)),
                "Gender": str(rng.choice(["F", "M"])),
                "Grade": known["Grade"],
                "Stage": int(rng.integers(1, 8)),
                "T.new": int(rng.integers(1, 5)),
                "N": int(nodal),
                "M.new": 0,
                "Smok": int(rng.integers(0, 2)),
                "Relapse": int(relapsed[index]),
                "DFS": round(DAYS * float(until[index])),
                "OS": round(DAYS * float(years[index])),
                "Ev.O": int(died[index]),
                "LN.Met": known["LN.Met"],
                "Dist.Met": "No Dist Metastases",
                "NeoAdj": "NoNeoAdjuvantTherapy",
            }
        )
    return records


def _patient(core):
    """Return the patient's id and number: the microarray, then a number within it."""
    return f"175_{100 + core['owner']}", 100 + core["owner"]


def _clinical(cores, records):
    """Return one row per image, and one of a control core without an image."""
    rows = []
    for index, core in enumerate(cores, start=1):
        tma, letter = core["block"].split("_")
        spot = f"{core['block']}{core['number'] % 9 + 1},{core['number'] % 5 + 1}"
        values = [records[core["owner"]][name] for name in COLUMNS]
        rows.append([index, f"{tma}{letter}_{core['number']}", tma, spot, *_patient(core), *values])
    control = [len(rows) + 1, "86C_99", "86", "86_C9,9", "Control", None]
    rows.append(control + [None] * len(COLUMNS))
    return csv_bytes(["", "Tma_ac", "TMA", "RoiID", "Patient_ID", "Patient_Nr", *COLUMNS], rows)


def _panel(channels, section):
    """Return the panel; two antibodies on one metal have a row each, as published."""
    columns = "channel,name,keep,ilastik,deepcell,cellpose,Tube Number,Antibody Clone".split(",")
    rows = [[metal, label, 0, 0, "", "", "", "", ""] for metal, label in BACKGROUND]
    for tube, ((metal, label), entry) in enumerate(zip(channels, section["panel"], strict=True), 1):
        for target in COMBINED.get(entry["marker"], (entry["marker"],)):
            rows.append([metal, label, 1, 1, "", "", tube, "simulated", target])
    return csv_bytes([*columns, "Clean_Target"], rows)


def _cells(cores, records, section):
    columns = ["TmaID", "TmaBlock", "acID", "Tma_ac", "ImageNumber", "CellNumber", "CellID"]
    columns += ["Center_X", "Center_Y", "Area", "cell_category", "cell_type", "cell_subtype"]
    columns += ["RoiID", "Patient_ID", "Patient_Nr", *COLUMNS]
    rows = []
    for number, core in enumerate(cores, start=1):
        tma, letter = core["block"].split("_")
        image = f"{core['block']}_{core['number']}"
        shown = f"{tma}{letter}_{core['number']}"  # in both tables, unlike in row names
        spot = f"{core['block']}{core['number'] % 9 + 1},{core['number'] % 5 + 1}"
        clinical = [records[core["owner"]][name] for name in COLUMNS]
        x, y = centroids(core["tissue"].cell_mask)
        size = areas(core["tissue"].cell_mask)
        for i, name in enumerate(core["tissue"].types):
            keys = [tma, letter, core["number"], shown, number, i + 1, f"{image}_{i + 1}"]
            category = section["cell_types"][name]["category"]
            measured = [float(x[i]), float(y[i]), int(size[i]), category, name, name]
            rows.append([*keys, *measured, spot, *_patient(core), *clinical])
    return csv_bytes(columns, rows)
