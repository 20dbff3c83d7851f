"""Writer of the layout of Moldoveanu et al. 2022 (Zenodo 5903190 and 5903179).

Two tar.gz: one TIFF per channel in a folder per sample, beside the mask, each with a hidden file of
macOS; and tables of samples and cells as text. The panel is only in the article's supplement and is
saved from there by hand.
"""

from functools import partial

from demo.simulator.archives import csv_bytes, tiff_bytes, write_tar_gz, zenodo_record
from demo.simulator.cells import each_cell

UNIMAGED_PATIENTS = 1
UNPUBLISHED_TISSUES = 0
DATA = "Moldoveanu_2022_CyTOF_melanoma/Data"
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files and columns follow those of Moldoveanu et al. 2022 (Zenodo 5903190 and 5903179) where they
are publicly described, with a subset of the channels, whose metals are invented.
moldoveanu2022_panel.csv is the table of the article's supplement, saved as CSV by hand. All files
are in one record here.
Not imitated: the tables of mean intensities, code, spleens, masks made on doubled images.
"""
record = partial(
    zenodo_record, title="Simulated cohort in the layout of Zenodo 5903190 and 5903179"
)


def write(folder, section, cohort):
    """Write both archives and the panel into `folder`; return their paths."""
    samples = [
        f"{14 + 3 * owner}{'RD' if cohort.owners.index(owner) < i else 'BL'}"
        for i, owner in enumerate(cohort.owners)
    ]
    names = [
        f"2019{3 + i:02d}12_{sample}_s0_p1_r{i + 1}_a{i + 1}_ac" for i, sample in enumerate(samples)
    ]
    members = []
    for name, tissue in zip(names, cohort.tissues, strict=True):
        base = f"CP_output_tiff/{name}/{name}"
        for entry, plane in zip(section["panel"], tissue.image, strict=True):
            members.append((f"{base}_{entry['channel']}.tiff", tiff_bytes(plane)))
        members.append((f"{base}_ilastik_s2_Probabilities_mask.tiff", tiff_bytes(tissue.cell_mask)))
    tables = [
        (f"{DATA}/README.txt", README.encode()),
        (f"{DATA}/ST1_sample_info.txt", _samples(cohort, samples, names)),
        (f"{DATA}/ST4_cell_data.txt", _cells(cohort, samples)),
    ]
    images = folder / "Moldoveanu2022-cytof-RAW.tar.gz"
    data = folder / "Moldoveanu_2022_CyTOF_melanoma.tar.gz"
    write_tar_gz(images, members, litter=True)
    write_tar_gz(data, tables)
    panel = folder / "moldoveanu2022_panel.csv"
    panel.write_bytes(_panel(section))
    return [images, data, panel]


def _panel(section):
    """Return the supplement's table, which writes a metal with its mass first."""
    rows = []
    for entry in section["panel"]:
        symbol = entry["channel"].rstrip("0123456789")
        metal = entry["channel"].removeprefix(symbol) + symbol
        rows.append([metal, entry["marker"].replace(".", " "), "simulated"])
    return csv_bytes(["Metal-Tag", "Target Name", "Clone"], rows)


def _samples(cohort, samples, names):
    """Return a row per sample, and one of a patient without an image."""
    columns = "Sample_ID,Cohort,Tissue_Source_Simplified,acquisition_date,Sex,Treatment,Response"
    rows = []
    people = [*cohort.samples, *cohort.unimaged]
    for index, patient in enumerate(people):
        imaged = index < len(samples)
        known = patient.attributes
        facts = ["ICI", "Skin", "2019-03-12", "M" if index % 2 else "F", known["Treatment"]]
        irrc = {"Yes": "PR", "No": "PD"}[known["Response"]]
        sample = samples[index] if imaged else f"{90 + index}BL"
        rows.append([sample, *facts, known["Response"], irrc, names[index] if imaged else None])
    return csv_bytes([*columns.split(","), "irRC", "filename"], rows, separator="\t")


def _cells(cohort, samples):
    rows = [
        [f"{samples[index]}:{label}", samples[index], x, y, name, 0.1]
        for index, label, x, y, _, name in each_cell(cohort.tissues)
    ]
    columns = ["obj.id", "sample.id", "coord.x", "coord.y", "Cluster", "Ki67.prob"]
    return csv_bytes(columns, rows, separator="\t")
