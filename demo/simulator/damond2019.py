"""Writer of the layout of Damond et al. 2019 (Mendeley Data cydmwsfztj).

Flat zips of TIFF stacks and masks named by core, CellProfiler tables keyed by ImageNumber, cell
types keyed by core and ObjectNumber, donors keyed by slide (first letter of the core). As in the
archive, the zip of masks and the cell tables also cover a core whose image is not in the subset.
"""

from operator import itemgetter

import numpy as np
from scipy.ndimage import distance_transform_edt, label

from demo.simulator.archives import csv_bytes, mendeley_listing, tiff_bytes, write_zip
from demo.simulator.cells import areas, centroids, mean_counts, neighbour_counts
from workflow_scripts.common.errors import InputError

UNIMAGED_PATIENTS = 0
UNPUBLISHED_TISSUES = 1
SLIDES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PARTS = ("Tail", "Body", "Head")
YEARS_OF_DISEASE = {"Non-diabetic": (0, 0), "Onset": (0, 1.5), "Long-duration": (8, 30)}
NOT_IN_STACK = (("Nd142", "CD38"), ("Nd143", "CD44"))  # antibodies of the panel without a page
ISLET_MARGIN = 10  # px by which ExpandedIslets are larger than Islets
README = """Simulated data. No donor, tissue or measurement in these files is real.
The files and columns follow those of Damond et al. 2019 (Mendeley Data cydmwsfztj) where they are
publicly described, with a subset of the channels. Not imitated: All_Object relationships.csv,
CellSubset.csv, Metadata.csv and five columns of panel.csv.
"""


def write(folder, section, cohort):
    """Write all files of the archive into `folder`; return their paths in the listing's order."""
    if len(cohort.tissues) > len(SLIDES):
        raise InputError(
            f"simulation.tissues: {len(cohort.tissues)}, but the layout of damond2019 names slides "
            f"by one letter; expected at most {len(SLIDES)}, lower it."
        )
    published = list(zip(cohort.tissues, cohort.owners, strict=True))
    images = [*published, *((tissue, 0) for tissue in cohort.unpublished)]
    slides = [SLIDES[i if i < len(published) else 0] for i in range(len(images))]
    numbers = 1 + cohort.rng.permutation(34)[: len(images)]
    cores = [f"{slide}{number:02d}" for slide, number in zip(slides, numbers, strict=True)]
    tissues = [tissue for tissue, _ in images]

    zips = {
        "ImageSubset.zip": [
            (f"{core}_a0_full_clean.tiff", tiff_bytes(tissue.image))
            for core, (tissue, _) in zip(cores, published, strict=False)
        ],
        "Masks.zip": [
            (f"{core}_a0_full_mask.tiff", tiff_bytes(tissue.cell_mask))
            for core, tissue in zip(cores, tissues, strict=True)
        ],
        "Cells.zip": [("All_Cells.csv", _cells(tissues))],
        "Image.zip": [("All_Image.csv", _images(cores, tissues))],
        "CellTypes.zip": [("CellTypes.csv", _cell_types(cores, tissues, section))],
        "Donors.zip": [("Donors.csv", _donors(cohort, slides))],
    }
    for name, members in zips.items():
        write_zip(folder / name, members)
    metals = [[entry["channel"]] for entry in section["panel"]]
    (folder / "panel.csv").write_bytes(_panel(section))
    (folder / "ChannelMass.csv").write_bytes(csv_bytes([], metals, header=False))
    (folder / "README.txt").write_text(README)
    return [folder / name for name in [*zips, "panel.csv", "ChannelMass.csv", "README.txt"]]


def record(paths, folder):
    """Return the archive's API answer for `paths`, which will lie in `folder`."""
    return mendeley_listing(paths, folder)


def _panel(section):
    columns = "TubeNb,MetalTag,Target,clean_Target,shortname,Clone,channel,full,miCAT,miCAT2".split(
        ","
    )
    position = {entry["channel"]: i for i, entry in enumerate(section["panel"], start=1)}
    antibodies = [(entry["channel"], entry["marker"]) for entry in section["panel"]]
    rows = []
    # In the order of the tubes, which is not that of the stack: pages are matched by metal.
    for tube, (metal, target) in enumerate(
        sorted([*antibodies, *NOT_IN_STACK], key=itemgetter(1)), 1
    ):
        clean = target.replace("-", "")
        full = int(metal in position)
        rows.append([tube, metal, target, clean, clean, "simulated", position.get(metal), full])
        rows[-1] += [full, full]
    return csv_bytes(columns, rows)


def _cells(tissues):
    channels = len(tissues[0].image)
    columns = ["ImageNumber", "ObjectNumber", "Location_Center_X", "Location_Center_Y"]
    columns += ["AreaShape_Area", "Neighbors_NumberOfNeighbors_3"]
    columns += ["Parent_Islets", "Parent_ExpandedIslets"]
    columns += [f"Intensity_MeanIntensity_CleanStack_c{n}" for n in range(1, channels + 1)]
    rows = []
    for number, tissue in enumerate(tissues, start=1):
        mask = tissue.cell_mask
        x, y = centroids(mask)
        at = y.round().astype(int), x.round().astype(int)
        islets, _, expanded = _islets(tissue)
        # CellProfiler rescales 16-bit images to 0..1.
        means = mean_counts(mask, tissue.image) / 65535
        facts = [x.tolist(), y.tolist(), areas(mask).tolist(), neighbour_counts(mask, 3).tolist()]
        facts += [islets[at].tolist(), expanded[at].tolist(), means.tolist()]
        for cell, (*fact, intensities) in enumerate(zip(*facts, strict=True), start=1):
            rows.append([number, cell, *fact, *intensities])
    return csv_bytes(columns, rows)


def _islets(tissue):
    """Return islets [H, W] labelled 1..n, n, and the same islets grown by a margin."""
    islets, count = label(tissue.niche_map == tissue.niches.index("islet"))
    if not count:
        return islets, 0, islets
    distance, nearest = distance_transform_edt(islets == 0, return_indices=True)
    return islets, count, np.where(distance <= ISLET_MARGIN, islets[tuple(nearest)], 0)


def _images(cores, tissues):
    columns = ["ImageNumber", "Metadata_Core", "Metadata_Slide", "FileName_CleanStack"]
    columns += ["Width_CleanStack", "Height_CleanStack", "Count_Cells", "Count_Islets"]
    rows = []
    for number, (core, tissue) in enumerate(zip(cores, tissues, strict=True), start=1):
        height, width = tissue.cell_mask.shape
        name = f"{core}_a0_full_clean.tiff"
        counts = [len(tissue.types), _islets(tissue)[1]]
        rows.append([number, core, core[0], name, width, height, *counts])
    return csv_bytes(columns, rows)


def _cell_types(cores, tissues, section):
    rows = [
        [f"{core}_{cell}", core, name, section["cell_types"][name]["category"]]
        for core, tissue in zip(cores, tissues, strict=True)
        for cell, name in enumerate(tissue.types, start=1)
    ]
    return csv_bytes(["id", "core", "CellType", "CellCat"], rows)


def _donors(cohort, slides):
    """Return one row per slide; a donor with two tissues has two slides of the same `case`."""
    columns = "slide,part,case,group,stage,duration,Age,Gender,Ethnicity,BMI".split(",")
    donors = []
    for index, patient in enumerate(cohort.patients):
        stage = patient.attributes["stage"]
        donors.append(
            [
                9001 + index,
                "Control" if stage == "Non-diabetic" else "T1D",
                stage,
                round(float(cohort.rng.uniform(*YEARS_OF_DISEASE[stage])), 1),
                int(cohort.rng.integers(12, 50)),
                str(cohort.rng.choice(["F", "M"])),
                "simulated",
                round(float(cohort.rng.normal(24, 3)), 1),
            ]
        )
    seen = [cohort.owners[:i].count(owner) for i, owner in enumerate(cohort.owners)]
    rows = [
        [slide, PARTS[count % len(PARTS)], *donors[owner]]
        for slide, owner, count in zip(slides, cohort.owners, seen, strict=False)
    ]
    return csv_bytes(columns, rows)
