"""Writer of the layout of Hu et al. 2023 (Zenodo 6784251): tonsil, lung and endometrium.

One TIFF per channel, named by mass, metal and marker, in a folder per region of an experiment. Each
organ has a panel and spellings of its own. Names of the archive and of its upper folders are not
publicly described; masks are in another frame and are not written.
"""

from functools import partial

import numpy as np

from demo.simulator.archives import ome_tiff_bytes, write_zip, zenodo_record
from demo.simulator.patients import stained

UNIMAGED_PATIENTS = 0
UNPUBLISHED_TISSUES = 0
EXPERIMENTS = {
    "tonsil": ("Tonsil DonorE", "Tonsil DonorA"),
    "lung": ("Lung B5", "Lung F7"),
    "endometrium": ("endometrium L128", "endometrium L011"),
}
SPELLINGS = {"CD8": "CD8a", "ECadherin": "Ecaderin"}  # of the endometrium
METALS = {"DNA1": ("191", "Ir", "191Ir"), "DNA2": ("193", "Ir", "193Ir")}
CONTAMINANT = ("131", "Xe", "contaminant")
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files follow those of Hu et al. 2023 (Zenodo 6784251) where public code takes their names apart,
with subsets of the three panels. Invented, because not described: the name of the zip, the folders
of lung, the metals, the prefix of a region's folder.
Not imitated: the metabolite images, masks in their frame, .hdf5 and .h5ad files; there is no CSV.
"""
record = partial(zenodo_record, title="Simulated cohort in the layout of Zenodo 6784251")


def write(folder, section, cohort):
    """Write the archive into `folder`; return its path."""
    members, donors, regions = [("README.txt", README.encode())], {}, {}
    for tissue, sample, owner in zip(cohort.tissues, cohort.samples, cohort.owners, strict=True):
        organ = sample.attributes["organ"]
        of_organ = donors.setdefault(organ, [])
        if owner not in of_organ:
            of_organ.append(owner)
        number = of_organ.index(owner)
        experiment = EXPERIMENTS[organ][number % 2] + ("" if number < 2 else str(number))
        region = regions[experiment] = regions.get(experiment, 0) + 1
        path = f"data/IMC/{experiment}/{region:02d}_ROI_{region}"
        for (mass, metal, marker), plane in _channels(cohort.rng, section, sample, tissue):
            name = f"{mass}_{metal}_{marker}.ome.tiff"
            members.append((f"{path}/{name}", ome_tiff_bytes(plane, f"{mass}{metal}")))
    write_zip(folder / "IMC.zip", members)
    return [folder / "IMC.zip"]


def _channels(rng, section, sample, tissue):
    """Yield (mass, metal, marker) and plane of the channels that were measured in a tissue."""
    gas = rng.poisson(2, tissue.image.shape[1:])
    yield CONTAMINANT, gas.astype(np.uint16)
    measured = stained(section, sample.attributes)
    for place, entry in enumerate(section["panel"]):
        marker = entry["channel"]
        if sample.attributes["organ"] == "endometrium":
            marker = SPELLINGS.get(marker, marker)
        if measured[place]:
            named = METALS.get(marker, (str(141 + place), "Nd", marker))
            yield named, tissue.image[place]
