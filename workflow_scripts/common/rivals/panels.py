"""Channels that all tissues of a cohort share, and crops of them."""

from collections import Counter

import numpy as np


def shared_panel(panels):
    """Return the accessions that every panel has, in the order of the first, repeats included."""
    panels = [list(panel) for panel in panels]
    if not panels:
        return []
    left, shared = Counter(panels[0]), []
    for panel in panels[1:]:
        left &= Counter(panel)
    for accession in panels[0]:
        if left[accession]:
            left[accession] -= 1
            shared.append(accession)
    return shared


def places(panel, accessions):
    """Return where `accessions` has the channels of `panel`; the first of equal ones first.

    A channel of the panel that is missing is left out.
    """
    left, found = {}, []
    for place, accession in enumerate(accessions):
        left.setdefault(accession, []).append(place)
    for accession in panel:
        if left.get(accession):
            found.append(left[accession].pop(0))
    return found


def crops_of(image, origins, side):
    """Return the crops [n, C, side, side] of an image [C, H, W] at `origins` (row, col)."""
    crops = [image[:, r : r + side, c : c + side] for r, c in origins]
    return np.stack(crops) if crops else np.empty((0, len(image), side, side), image.dtype)
