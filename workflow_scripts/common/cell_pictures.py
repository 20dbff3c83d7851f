"""Cells of a tissue as a picture, each in the colour of its class."""

import numpy as np
from matplotlib.colors import to_rgb
from skimage.segmentation import find_boundaries

BACKGROUND, BORDER, UNLABELLED = "#FFFFFF", "#303030", "#BBBBBB"


def cell_picture(mask, labels, colours):
    """Return an RGB picture [H, W, 3] of an instance mask, cells in the colour of their class.

    `labels`: cell id -> class or None.
    """
    table = np.full((int(mask.max()) + 1, 3), to_rgb(UNLABELLED))
    table[0] = to_rgb(BACKGROUND)
    for cell, label in labels.dropna().items():
        if cell < len(table):
            table[cell] = to_rgb(colours[label])
    picture = table[mask]
    picture[find_boundaries(mask, mode="inner")] = to_rgb(BORDER)
    return picture
