"""Raw files of the instrument, each with several images: .mcd, on disk or in zip archives."""

from functools import partial

from workflow_scripts.cohorts.readers.files import Files
from workflow_scripts.cohorts.readers.mcd import read_acquisitions, read_pixels
from workflow_scripts.cohorts.readers.panel import metal_tag, read_panel
from workflow_scripts.cohorts.readers.stack_tiff import build
from workflow_scripts.cohorts.readers.tissues import leave_out, match_files
from workflow_scripts.common.errors import InputError


def read(folder, cohort):
    """Return the `Source`: a tissue is an acquisition, named `<tissue>_<number>`.

    `tissue` is the named group of layout.images.pattern, which finds the files. Channels are found
    by metal, since the labels in the file are cut short; those that the panel does not name are
    left out and counted.
    """
    files, layout = Files(folder, cohort), cohort.layout
    panel = read_panel(files, cohort)
    metals = [metal_tag(name) for name in panel["original_channel_name"]]
    images, acquisitions = {}, {}
    for stem, (file, groups) in match_files(files, layout["images"]).items():
        for acquisition in read_acquisitions(file):
            tissue = f"{stem}_{acquisition.id}"
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
    loaders = {
        tissue: partial(read_pixels, file, acquisitions[tissue], metals)
        for tissue, (file, _) in images.items()
    }
    further = {metal for tissue in images for metal in acquisitions[tissue].metals}
    further -= {*metals, "X", "Y", "Z"}
    if further:
        warnings.append(
            f"channels of the acquisitions that the panel does not name are left out "
            f"({len(further)}): {', '.join(sorted(further)[:10])}"
        )
    return build(files, cohort, panel, images, loaders, warnings)
