"""Writer of the layout of Schulz et al. 2018 (Mendeley Data m4b97v7myb).

7z archives of figures with one TIFF per channel, named as the instrument's viewer does. One archive
is publicly described, a comparison of methods with a control probe; the other, with the tissues, is
invented after it.
"""

import numpy as np

from demo.simulator.archives import mendeley_listing, tiff_bytes, write_seven_zip

UNIMAGED_PATIENTS = 0
UNPUBLISHED_TISSUES = 0
COMPARISON = "Fig_2 FISH IMC comparison.7z"
TISSUES = "Fig_5 Tissue microarray.7z"  # an invented name
METALS = "In113,Eu151,Nd143,Lu175,Nd148,Tb159,Gd158,Ir191,Ir193".split(",")
README = """Simulated data. No patient, tissue or measurement in these files is real.
The files follow those of Schulz et al. 2018 (Mendeley Data m4b97v7myb) where they are publicly
described: an archive per figure, TIFFs named <target>(<metal>Di). Invented, because not described:
the archive of the tissues, its folders, the metals; there is no CSV.
Not imitated: the other figures, 12 of the 16 proteins.
"""
record = mendeley_listing


def write(folder, section, cohort):
    """Write both archives into `folder`; return their paths."""
    control = cohort.tissues[0].image[-1, :64, :64]
    name = f"{COMPARISON.removesuffix('.7z')}/PPIB_3/C2_PPIB(Ho165Di)_rotated.tiff"
    write_seven_zip(folder / COMPARISON, [(name, tiff_bytes(control))])
    members, root = [("README.txt", README.encode())], TISSUES.removesuffix(".7z")
    for number, tissue in enumerate(cohort.tissues, start=1):
        for entry, metal, plane in zip(section["panel"], METALS, tissue.image, strict=True):
            file = f"{root}/BC_{number:03d}/{entry['marker']}({metal}Di).tiff"
            members.append((file, tiff_bytes(plane.astype(np.float32))))
    write_seven_zip(folder / TISSUES, members)
    return [folder / COMPARISON, folder / TISSUES]
