"""Writer of the layout of Meyer et al. 2025 (Zenodo 10942609 and 15396067).

Two zips of raw .txt acquisitions, a folder per slide of a tissue microarray. Masks and the table of
cells, with the clinical variables on each of its rows, are R objects in a second record: the masks
are TIFFs here, as written by hand from that object, and the table the CSV that a conversion of its
colData gives.
"""

from functools import partial

import numpy as np

from demo.simulator.archives import csv_bytes, tiff_bytes, write_zip, zenodo_record
from demo.simulator.cells import each_cell
from demo.simulator.mcd import text_bytes
from demo.simulator.patients import draw_survival

UNIMAGED_PATIENTS = 0
UNPUBLISHED_TISSUES = 0
ZIPS = {"ZTMA174": "ZTMA174_raw.zip", "ZTMA249": "ZTMA249_raw.zip"}
BACKGROUND = (("Ar80", "80ArAr"), ("Xe131", "131Xe"))  # channels without an antibody
MONTHS = 12  # of a year
CLINICAL = (
    "PID,TMANr,n_samples,OS_months,status_OS,DFS_months,status_DFS,grade,pT,pN,pM,pT_simple,"
    "pN_simple,pM_simple,tumor_size_cm,age,pretreatment,BL_CD8_group_merg,spatial_CD8_pheno,PID_group_risk"
).split(",")
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files and columns follow those of Meyer et al. 2025 (Zenodo 10942609 and 15396067) where they
are publicly described, with a subset of the channels. sce_ALL_colData.csv is the table of
sce_ALL.rds, in the form that a conversion of its colData to CSV gives; masks.zip holds the masks
of the CytoImageList, written to TIFF by hand. All files are in one record here.
Not imitated: the .rds objects, cases with HER2 and other images that the authors left out.
"""
record = partial(
    zenodo_record, title="Simulated cohort in the layout of Zenodo 10942609 and 15396067"
)


def write(folder, section, cohort):
    """Write all files of both records into `folder`; return their paths."""
    names = [_names(index) for index in range(len(cohort.tissues))]
    labels = [f"{entry['marker'][:7]}_{300 + i}" for i, entry in enumerate(section["panel"])]
    channels = [
        (entry["channel"], f"{label}(({2000 + i}))" + entry["channel"])
        for i, (entry, label) in enumerate(zip(section["panel"], labels, strict=True))
    ]
    for array, zipped in ZIPS.items():
        members = [
            (f"{slide}/{slide}_{stem}.txt", _acquisition(cohort.rng, tissue, channels))
            for (slide, stem), tissue in zip(names, cohort.tissues, strict=True)
            if slide.startswith(array)
        ]
        write_zip(folder / zipped, members)
    samples = ["_".join(name) for name in names]
    masks = [tiff_bytes(tissue.cell_mask) for tissue in cohort.tissues]
    files = [f"{sample}.tiff" for sample in samples]
    write_zip(
        folder / "masks.zip", [("README.txt", README.encode()), *zip(files, masks, strict=True)]
    )
    (folder / "sce_ALL_colData.csv").write_bytes(_cells(section, cohort, samples))
    return [folder / name for name in [*ZIPS.values(), "masks.zip", "sce_ALL_colData.csv"]]


def _names(index):
    """Return the slide of a tissue and the stem of its file; the two microarrays take turns."""
    if index % 2:
        return f"ZTMA249.{1 + index}", f"ZTMA249_ID_{90 + index}_AX3Y{10 + index}_{300 + 7 * index}"
    return f"ZTMA174.{1 + index}", f"ZTMA174_B06.0{2565 + index}_3_AX3Y{1 + index}_{40 + index}"


def _acquisition(rng, tissue, channels):
    gas = rng.poisson(2, (len(BACKGROUND), *tissue.image.shape[1:])).astype("uint16")
    return text_bytes(np.concatenate([gas, tissue.image]), [*BACKGROUND, *channels])


def _clinical(section, cohort):
    """Return the clinical values of each patient, in the order of the columns."""
    course = draw_survival(cohort.rng, section, cohort.patients)
    (years, died), (until, relapsed) = course["death"], course["relapse"]
    rows = []
    for index, patient in enumerate(cohort.patients):
        known = patient.attributes
        follow_up = [float(MONTHS * years[index]), int(died[index])]
        follow_up += [float(MONTHS * until[index]), int(relapsed[index])]
        stage = [f"pT{cohort.rng.integers(1, 4)}", f"pN{cohort.rng.integers(0, 3)}", "pM0"]
        stage += [name[2] for name in stage]
        drawn = [float(cohort.rng.uniform(1, 6)), int(cohort.rng.integers(30, 85)), "no"]
        groups = [known[name] for name in CLINICAL[-3:]]
        rows.append(
            [f"PID{201 + index}", index + 1, cohort.owners.count(index), *follow_up]
            + [known["grade"], *stage, *drawn, *groups]
        )
    return rows


def _cells(section, cohort, samples):
    columns = ["sample_id", "ObjectNumber", "cell_id", "Pos_X", "Pos_Y", "area"]
    clinical = _clinical(section, cohort)
    rows = []
    for index, label, x, y, area, name in each_cell(cohort.tissues):
        compartment = "tumor" if name.startswith("tumor") else "non_tumor"
        keys = [samples[index], label, f"{samples[index]}_{label}", x, y, area, name, compartment]
        rows.append([*keys, *clinical[cohort.owners[index]]])
    return csv_bytes([*columns, "metacluster_combined", "analysis_cat", *CLINICAL], rows)
