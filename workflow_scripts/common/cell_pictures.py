"""Cell masks as pictures, every cell in the colour of its type."""

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from skimage.segmentation import find_boundaries

# Okabe-Ito without black, the colour of the borders, then as many greys as are needed.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
BACKGROUND, BORDER, UNLABELLED = "#FFFFFF", "#303030", "#BBBBBB"


def colours_of(labels):
    """Return class -> colour as #rrggbb, the most frequent class first."""
    order = labels.value_counts().index
    further = max(len(order) - len(COLOURS), 0)
    greys = [to_hex(str(0.35 + 0.4 * i / further)) for i in range(further)]
    return dict(zip(order, [*COLOURS, *greys], strict=False))


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
