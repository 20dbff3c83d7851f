"""Writer of the layout of Cords et al. 2023 (Zenodo 7540604).

Stacks, masks and the output of CellProfiler in three zips; every image has a list of its channels,
and the panel is a table of antibodies. Public code names the files of the last zip only: the names
of stacks and masks are inferred from that of a list.
"""

from functools import partial

from demo.simulator.archives import csv_bytes, tiff_bytes, write_zip, zenodo_record
from demo.simulator.cells import each_cell

UNIMAGED_PATIENTS = 0
UNPUBLISHED_TISSUES = 0
OUTPUT = "cp_30_new"
PATIENTS = ("TBB011", "TBB035", "TBB075", "TBB102", "TBB111", "TBB129", "TBB165", "TBB171")
NOT_STAINED = (("Gd155", "PDPN old"), ("Yb176", "test"))  # rows of the panel without a page
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files and columns follow those of Cords et al. 2023 (Zenodo 7540604) where they are publicly
described, with a subset of the channels, whose metals are invented. Invented too, because not
described: the names of stacks and masks, beyond what the name of a channel list tells. Tables are
CSV there too.
Not imitated: IMC_dataobjects.zip and scRNA-seq_dataobjects.zip (objects of R), clinical_data.csv.
"""
record = partial(zenodo_record, title="Simulated cohort in the layout of Zenodo 7540604")


def write(folder, section, cohort):
    """Write the three zips into `folder`; return their paths in the record's order."""
    names = [
        f"20201013_LC_BC-Fibro_{PATIENTS[owner % len(PATIENTS)]}_s0_p{i + 3}_r{i + 1}_a{i + 1}_ac"
        for i, owner in enumerate(cohort.owners)
    ]
    stacks = [f"{name}_full.tiff" for name in names]
    masks = [f"{name}_ilastik_s2_Probabilities_equalized_cellmask.tiff" for name in names]
    images = [tiff_bytes(tissue.image) for tissue in cohort.tissues]
    labels = [tiff_bytes(tissue.cell_mask) for tissue in cohort.tissues]
    metals = csv_bytes([], [[entry["channel"]] for entry in section["panel"]], header=False)
    output = [
        ("README.txt", README.encode()),
        (f"{OUTPUT}/Image.csv", _images(names, stacks, masks)),
        (f"{OUTPUT}/Cells.csv", _cells(cohort)),
        (f"{OUTPUT}/LC_BC_fibro_study_final panel.csv", _panel(section)),
        *((f"{OUTPUT}/{name}_full.csv", metals) for name in names),
    ]
    zips = {
        "ometiff.zip": list(zip((f"ometiff/{name}" for name in stacks), images, strict=True)),
        "Cell Masks.zip": list(zip((f"Cell Masks/{name}" for name in masks), labels, strict=True)),
        "cp-output_config.zip": output,
    }
    for name, members in zips.items():
        write_zip(folder / name, members)
    return [folder / name for name in zips]


def _panel(section):
    """Return the antibodies in the order of their names, which is not that of the stack."""
    stained = sorted(section["panel"], key=lambda entry: entry["marker"].lower())
    rows = [[e["channel"], e["marker"], e["marker"].replace("/", "-"), 1, 1] for e in stained]
    rows += [[metal, target, target, 0, 0] for metal, target in NOT_STAINED]
    return csv_bytes(["Metal Tag", "Target", "clean_target", "full", "ilastik"], rows)


def _images(names, stacks, masks):
    columns = "ImageNumber,FileName_FullStack,FileName_CellMask,Metadata_acid,Metadata_panoid"
    rows = [
        [number, stack, mask, number, number + 2, number, name.split("_")[3]]
        for number, (name, stack, mask) in enumerate(zip(names, stacks, masks, strict=True), 1)
    ]
    return csv_bytes([*columns.split(","), "Metadata_roiid", "Metadata_slideid"], rows)


def _cells(cohort):
    columns = ["ImageNumber", "ObjectNumber", "Location_Center_X", "Location_Center_Y"]
    rows = [[i + 1, label, x, y] for i, label, x, y, *_ in each_cell(cohort.tissues)]
    return csv_bytes(columns, rows)
