"""One TIFF per channel, in a folder per tissue."""

from functools import partial

import numpy as np

from workflow_scripts.cohorts.readers.files import Files
from workflow_scripts.cohorts.readers.panel import metal_tag, plain, read_panel
from workflow_scripts.cohorts.readers.stack_tiff import build
from workflow_scripts.cohorts.readers.tiff import read_channels
from workflow_scripts.cohorts.readers.tissues import absent_channels, leave_out, match_files
from workflow_scripts.common.errors import InputError


def read(folder, cohort):
    """Return the `Source`; layout.images.pattern names the groups `tissue` and `channel`.

    A file is of the channel that it names, in any spelling of its metal, or by one of its aliases.
    Every tissue must have exactly the panel's channels, except for those that are optional or of
    other tissues: a missing or an additional file is an InputError that names it.
    """
    files, layout = Files(folder, cohort), cohort.layout
    panel = read_panel(files, cohort)
    channels = {}
    for place, row in enumerate(panel.itertuples()):
        for name in (row.original_channel_name, row.channel_name, *row.aliases):
            channels.setdefault(_key(name), place)
    found = match_files(files, layout["images"], group="channel")
    found, warnings = leave_out(found, layout.get("exclude", []))
    images, loaders, absent = {}, {}, {}
    for tissue, named in found.items():
        planes = _places(tissue, named, channels, panel)
        missing = np.array([place not in planes for place in range(len(panel))])
        first, groups = next(iter(named.values()))
        groups = {name: value for name, value in groups.items() if name != "channel"}
        images[tissue] = (_Folder(first.name.rpartition("/")[0]), groups)
        loaders[tissue] = partial(_image, planes, len(panel))
        absent[tissue] = missing
    return build(files, cohort, panel, images, loaders, warnings, absent)


class _Folder:
    """The folder of a tissue's files, in the place of the one file that other readers have."""

    def __init__(self, name):
        self.name = name


def _key(name):
    return plain(metal_tag(name))


def _places(tissue, named, channels, panel):
    """Return {place in the panel: file} of a tissue; InputError unless they are its channels."""
    planes, unknown = {}, []
    for name, (file, _) in named.items():
        place = channels.get(_key(name))
        if place is None:
            unknown.append(name)
        elif place in planes:
            raise InputError(
                f"{file}: channel '{panel['channel_name'][place]}' of tissue {tissue} is already "
                f"given by {planes[place].name}; make the pattern narrower."
            )
        else:
            planes[place] = file
    elsewhere = absent_channels(panel, tissue)
    names = panel["original_channel_name"]
    needed = ~elsewhere & ~panel["optional"].to_numpy()
    lacking = [names[place] for place in np.flatnonzero(needed) if place not in planes]
    unknown += [names[place] for place in planes if elsewhere[place]]
    if lacking or unknown:
        raise InputError(
            f"tissue {tissue}: {len(named)} channel files and {len(panel)} channels in the "
            f"panel: no file for {', '.join(lacking) or 'none'}; not in the panel: "
            f"{', '.join(sorted(unknown)) or 'none'}; correct the panel, or the pattern of "
            "layout.images."
        )
    return planes


def _image(planes, channels):
    """Return the image [channels, H, W] float32 of {place: file}, 0 where a channel has no file."""
    pixels = read_channels([planes[place] for place in sorted(planes)])
    if len(planes) == channels:
        return pixels
    image = np.zeros((channels, *pixels.shape[1:]), np.float32)
    image[sorted(planes)] = pixels
    return image
