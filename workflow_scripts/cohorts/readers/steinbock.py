"""A steinbock export: img/, masks/, panel.csv and images.csv."""

from dataclasses import replace

from workflow_scripts.cohorts.readers import stack_tiff
from workflow_scripts.cohorts.readers.files import Files
from workflow_scripts.cohorts.readers.tables import read_table
from workflow_scripts.common.errors import InputError

# https://bodenmillergroup.github.io/steinbock: what `steinbock preprocess` and `segment` write.
IMAGES = {"pattern": r"^img/(?P<tissue>[^/]+)\.tiff?$"}
MASKS = {"pattern": r"^masks/(?P<tissue>[^/]+)\.tiff?$"}
ORDER = {"file": "panel.csv", "channel": "channel", "target": "name", "keep": {"keep": [1, True]}}
IMAGE_TABLE = {"file": "images.csv", "optional": True}


def read(folder, cohort):
    """Return the `Source` of a steinbock folder; its parts may be renamed in the layout.

    The stack holds the channels of panel.csv with keep = 1, in that order. images.csv, where there
    is one, must list as many channels.
    """
    layout = {"images": IMAGES, "order": ORDER, **cohort.layout}
    files = Files(folder, cohort)
    if "masks" not in layout and (files.folder / "masks").is_dir():
        layout["masks"] = MASKS
    source = stack_tiff.read(folder, replace(cohort, layout=layout))
    listed = read_table(files, IMAGE_TABLE, {"image", "num_channels"})
    if listed is not None:
        wrong = listed[listed["num_channels"] != len(source.panel)]
        if len(wrong):
            row = wrong.iloc[0]
            raise InputError(
                f"images.csv: {row['image']} has {row['num_channels']} channels and panel.csv "
                f"keeps {len(source.panel)}; correct the keep column of panel.csv."
            )
    return source
