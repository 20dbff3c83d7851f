"""Writer of the layout of Allam et al. 2022 (Zenodo 6784253): two sets of lung cores.

One TIFF per channel in a folder per core. The older set names files by marker, with the raw names
that the authors change later; the newer one by mass, metal and marker. Names of the archive and of
its upper folders are not publicly described.
"""

from functools import partial

import numpy as np

from demo.simulator.archives import ome_tiff_bytes, tiff_bytes, write_zip, zenodo_record
from demo.simulator.patients import stained

UNIMAGED_PATIENTS = 0
UNPUBLISHED_TISSUES = 0
OLDER = ("ROI001_B1", "ROI005_B3", "ROI006_B5", "ROI007_C6", "ROI008_D7", "ROI009_D9", "ROI012_E1")
NEWER = ("B7", "C3", "D1", "D2", "D5", "D9", "F7", "G3", "H1", "H2", "H5", "H9")
RAW = {"DNA1": "White191Ir", "DNA2": "White193Ir", "H3K9me3": "H3K4me3"}  # renamed by the authors
LATER = {"CD8a": "CD8", "MHCII": "HLADR", "DNA1": "191Ir", "DNA2": "193Ir"}
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files follow those of Allam et al. 2022 (Zenodo 6784253) where public code names them, with
subsets of the two panels. Invented, because not described: the name of the zip, the metals, the
first part of a name.
Not imitated: masks, .hdf5 and .h5ad files, facts in the authors' notebook; there is no CSV.
"""
record = partial(zenodo_record, title="Simulated cohort in the layout of Zenodo 6784253")


def write(folder, section, cohort):
    """Write the archive into `folder`; return its path."""
    members, counts = [("README.txt", README.encode())], {"older": 0, "newer": 0}
    for tissue, sample in zip(cohort.tissues, cohort.samples, strict=True):
        kind = sample.attributes["set"]
        measured = stained(section, sample.attributes)
        number = counts[kind]
        counts[kind] += 1
        for place in np.flatnonzero(measured):
            marker, plane = section["panel"][place]["channel"], tissue.image[place]
            if kind == "older":
                path = f"data/ROI/{OLDER[number]}/{OLDER[number]}_{RAW.get(marker, marker)}.tiff"
                members.append((path, tiff_bytes(plane)))
            else:
                name = f"{141 + place}_Nd_{LATER.get(marker, marker)}.ome.tiff"
                content = ome_tiff_bytes(plane, f"{141 + place}Nd")
                members.append((f"data/ROI_new/{number + 1:02d}_{NEWER[number]}/{name}", content))
        if kind == "newer":
            gas = cohort.rng.poisson(2, tissue.image.shape[1:]).astype(np.uint16)
            path = f"data/ROI_new/{number + 1:02d}_{NEWER[number]}/131_Xe_contaminant.ome.tiff"
            members.append((path, ome_tiff_bytes(gas, "131Xe")))
    write_zip(folder / "SpatialVizScore.zip", members)
    return [folder / "SpatialVizScore.zip"]
