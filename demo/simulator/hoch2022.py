"""Writer of the layout of Hoch et al. 2022 (Zenodo 6004986 and 5994136), RNA panel.

Two zips: full_data.zip with 16-bit stacks, masks, the panel and one table of images;
data_for_analysis.zip with cell types and patients. Cell types are a SingleCellExperiment (.rds) in
the archive; here they are the CSV that a conversion of its colData gives. The two zips are of two
records there, of one here.
"""

from demo.simulator.archives import csv_bytes, tiff_bytes, write_zip, zenodo_record
from demo.simulator.cells import areas, centroids
from demo.simulator.patients import draw_survival

UNIMAGED_PATIENTS = 0
UNPUBLISHED_TISSUES = 0
IMAGES = "full_data/rna"
ANALYSIS = "data_for_analysis_zenodo"
BLOCK = "ZTMA256.1"
DAYS = 365.25
CLINICAL = (
    "PatientID,Age_range,Gender,Cancer_Stage,TissueType,Location,MM_location,MM_location_simplified,"
    "Adjuvant,E_I_D,Mutation,Status_at_3m,relapse,Time_to_death_or_last_PET,censoring_death,"
    "Time_to_progression_or_last_PET"
).split(",")
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files and columns follow those of Hoch et al. 2022 (Zenodo 6004986 and 5994136) where they are
publicly described, with the RNA panel and a subset of its channels. sce_RNA_colData.csv is the cell
table of sce_RNA.rds, in the form that a conversion of its colData to CSV gives. Both zips are in
one record here. In censoring_death 1 means that the patient died. Metals of CD68 and CD31 and the
suffix of the spill-corrected stacks are invented, because they are not described.
Not imitated: the .rds objects, the protein panel, raw stacks, the additional stains,
acquisition_metadata.csv and cell.csv.
"""


def write(folder, section, cohort):
    """Write both zips into `folder`; return their paths."""
    spots = [f"{'ABCDEFGH'[i % 8]}{1 + i // 8}" for i in range(len(cohort.tissues) + 1)]
    names = [
        f"20190731_{BLOCK}_slide2_TH_s{i % 3}_p{i + 1}_r1_a{i + 1}"
        for i in range(len(cohort.tissues))
    ]
    metals = [[entry["channel"]] for entry in section["panel"]]
    images = _images(cohort, names, spots)
    members = [
        ("full_data/README.txt", README.encode()),
        (f"{IMAGES}/cpout/Image.csv", images),
        (f"{IMAGES}/config/melanoma_1.06_rna.csv", _panel(section)),
    ]
    for name, tissue in zip(names, cohort.tissues, strict=True):
        members += [
            (f"{IMAGES}/cpout/{_spill_corrected(name)}", tiff_bytes(tissue.image)),
            (f"{IMAGES}/cpout/{_mask(name)}", tiff_bytes(tissue.cell_mask)),
            (f"{IMAGES}/tiffs/{name}_ac_full.csv", csv_bytes([], metals, header=False)),
        ]
    tables = [
        (f"{ANALYSIS}/sce_RNA_colData.csv", _cells(cohort, spots)),
        (f"{ANALYSIS}/rna/Image.csv", images),
        (f"{ANALYSIS}/rna/clinical_data_RNA.csv", _clinical(section, cohort, spots)),
    ]
    paths = [folder / "full_data.zip", folder / "data_for_analysis.zip"]
    for path, content in zip(paths, (members, tables), strict=True):
        write_zip(path, content)
    return paths


def record(paths, folder):
    """Return the archive's API answer for `paths`, which will lie in `folder`."""
    title = "Simulated cohort in the layout of Zenodo 6004986 and 5994136"
    return zenodo_record(paths, folder, title)


def _spill_corrected(name):
    return f"{name}_ac_full_spillcorrected.tiff"


def _mask(name):
    return f"{name}_ac_ilastik_s2_Probabilities_equalized_cellmask.tiff"


def _images(cohort, names, spots):
    columns = ["ImageNumber", "FileName_SpillCorrected", "FileName_FullStack", "FileName_cellmask"]
    columns += ["Height_cellmask", "Width_cellmask", "Metadata_Description"]
    rows = []
    for number, (name, tissue) in enumerate(zip(names, cohort.tissues, strict=True), start=1):
        files = [_spill_corrected(name), f"{name}_ac_full.tiff", _mask(name)]
        rows.append([number, *files, *tissue.cell_mask.shape, spots[number - 1]])
    return csv_bytes(columns, rows)


def _panel(section):
    """Return the panel in alphabetical order, which is not that of the stack."""
    rows = [
        [entry["channel"], entry["marker"], entry["marker"].replace(" ", "_"), 1, 1, 0]
        for entry in sorted(section["panel"], key=lambda entry: entry["marker"].lower())
    ]
    return csv_bytes(["Metal Tag", "Target", "clean_target", "full", "ilastik", "tumorMask"], rows)


def _cells(cohort, spots):
    columns = ["cellID", "ImageNumber", "CellNumber", "Center_X", "Center_Y", "Area"]
    columns += ["Description", "BlockID", "celltype", "celltype_clustered", "in_tumor"]
    rows = []
    for number, tissue in enumerate(cohort.tissues, start=1):
        x, y = centroids(tissue.cell_mask)
        size = areas(tissue.cell_mask)
        for i, name in enumerate(tissue.types):
            keys = [f"RNA_{number}_{i + 1}", number, i + 1]
            place = [float(x[i]), float(y[i]), int(size[i]), spots[number - 1], BLOCK]
            rows.append([*keys, *place, name, name, tissue.cell_niches[i] == "Tumour"])
    return csv_bytes(columns, rows)


def _clinical(section, cohort, spots):
    """Return one row per spot, and one of a control without an image."""
    course = draw_survival(cohort.rng, section, cohort.patients)
    (years, died), (until, relapsed) = course["death"], course["relapse"]
    people = []
    for index, patient in enumerate(cohort.patients):
        known = patient.attributes
        people.append(
            [
                f"P{31 + index}",
                int(cohort.rng.integers(28, 85)),
                str(cohort.rng.choice(["f", "m"])),
                known["Cancer_Stage"],
                str(cohort.rng.choice(["skin", "lymph node"])),
                "simulated",
                "simulated",
                "simulated",
                str(cohort.rng.choice(["y", "n"])),
                str(cohort.rng.choice(["excluded", "inflamed", "desert"])),
                known["Mutation"],
                str(cohort.rng.choice(["CR", "PR", "SD", "PD"])),
                "relapse" if relapsed[index] else "no relapse",
                round(DAYS * float(years[index])),
                int(died[index]),
                round(DAYS * float(until[index])),
            ]
        )
    rows = [
        [spot, BLOCK, *people[owner]] for spot, owner in zip(spots, cohort.owners, strict=False)
    ]
    control = {"PatientID": "control", "Location": "CTRL", "relapse": "control"}
    rows.append([spots[-1], BLOCK, *(control.get(name) for name in CLINICAL)])
    return csv_bytes(["Description", "BlockID", *CLINICAL], rows)
