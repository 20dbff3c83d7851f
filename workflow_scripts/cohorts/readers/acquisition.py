"""Raw files of the instrument, .mcd with several images or .txt with one, on disk or archived."""

from functools import partial

import numpy as np

from workflow_scripts.cohorts.readers import mcd, text
from workflow_scripts.cohorts.readers.files import Files
from workflow_scripts.cohorts.readers.panel import metal_tag, read_panel
from workflow_scripts.cohorts.readers.stack_tiff import build
from workflow_scripts.cohorts.readers.tissues import absent_channels, leave_out, match_files
from workflow_scripts.common.errors import InputError


def read(folder, cohort):
    """Return the `Source`: a tissue is an acquisition, named `<tissue>_<number>`, or a .txt file.

    `tissue` is the named group of layout.images.pattern, which finds the files. Channels are found
    by metal, since the labels in the file are cut short; those that the panel does not name are
    left out and counted.
    """
    files, layout = Files(folder, cohort), cohort.layout
    panel = read_panel(files, cohort)
    metals = [metal_tag(name) for name in panel["original_channel_name"]]
    images, acquisitions = {}, {}
    for stem, (file, groups) in match_files(files, layout["images"]).items():
        for acquisition in _acquisitions(file):
            tissue = stem if acquisition.id is None else f"{stem}_{acquisition.id}"
            if tissue in images:
                raise InputError(
                    f"{file}: acquisition {acquisition.id} is there twice; a tissue needs a name "
                    "of its own."
                )
            images[tissue] = (file, {**groups, "tissue": tissue, "acquisition": acquisition.id})
            acquisitions[tissue] = acquisition
    images, warnings = leave_out(dict(sorted(images.items())), layout.get("exclude", []))
    if not images:
        raise InputError(f"{cohort.path}: its files hold no acquisition that is not excluded.")
    loaders, absent = {}, {}
    for tissue, (file, _) in images.items():
        missing = absent_channels(panel, tissue)
        missing |= panel["optional"].to_numpy() & ~np.isin(metals, acquisitions[tissue].metals)
        loaders[tissue] = partial(_image, file, acquisitions[tissue], metals, missing)
        absent[tissue] = missing
    further = {metal for tissue in images for metal in acquisitions[tissue].metals}
    further -= {*metals, "X", "Y", "Z"}
    if further:
        warnings.append(
            f"channels of the acquisitions that the panel does not name are left out "
            f"({len(further)}): {', '.join(sorted(further)[:10])}"
        )
    return build(files, cohort, panel, images, loaders, warnings, absent)


def _acquisitions(file):
    if file.name.lower().endswith(".txt"):
        return [text.read_acquisition(file)]
    return mcd.read_acquisitions(file)


def _image(file, acquisition, metals, absent):
    """Return the image [metals, H, W] of an acquisition, 0 where a channel is `absent` [metals]."""
    measured = [metal for metal, missing in zip(metals, absent, strict=True) if not missing]
    reader = text if isinstance(acquisition, text.TextAcquisition) else mcd
    pixels = reader.read_pixels(file, acquisition, measured)
    if not absent.any():
        return pixels
    image = np.zeros((len(metals), *pixels.shape[1:]), np.float32)
    image[~absent] = pixels
    return image
