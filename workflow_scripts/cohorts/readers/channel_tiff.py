"""One TIFF per channel, in a folder per tissue."""

from functools import partial

from workflow_scripts.cohorts.readers.files import Files
from workflow_scripts.cohorts.readers.panel import read_panel
from workflow_scripts.cohorts.readers.stack_tiff import build
from workflow_scripts.cohorts.readers.tiff import read_channels
from workflow_scripts.cohorts.readers.tissues import leave_out, match_files
from workflow_scripts.common.errors import InputError


def read(folder, cohort):
    """Return the `Source`; layout.images.pattern names the groups `tissue` and `channel`.

    Every tissue must have exactly the panel's channels: a missing or an additional file is an
    InputError that names it.
    """
    files, layout = Files(folder, cohort), cohort.layout
    panel = read_panel(files, cohort)
    channels = list(panel["original_channel_name"])
    found = match_files(files, layout["images"], group="channel")
    found, warnings = leave_out(found, layout.get("exclude", []))
    images, loaders = {}, {}
    for tissue, planes in found.items():
        _check_channels(tissue, planes, channels)
        first, groups = planes[channels[0]]
        groups = {name: value for name, value in groups.items() if name != "channel"}
        images[tissue] = (_Folder(first.name.rpartition("/")[0]), groups)
        loaders[tissue] = partial(read_channels, [planes[channel][0] for channel in channels])
    return build(files, cohort, panel, images, loaders, warnings)


class _Folder:
    """The folder of a tissue's files, in the place of the one file that other readers have."""

    def __init__(self, name):
        self.name = name


def _check_channels(tissue, planes, channels):
    absent = [channel for channel in channels if channel not in planes]
    unknown = sorted(set(planes) - set(channels))
    if absent or unknown:
        raise InputError(
            f"tissue {tissue}: {len(planes)} channel files and {len(channels)} channels in the "
            f"panel: no file for {', '.join(absent) or 'none'}; not in the panel: "
            f"{', '.join(unknown) or 'none'}; correct the panel, or the pattern of layout.images."
        )
