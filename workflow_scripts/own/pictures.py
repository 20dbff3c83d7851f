"""Pictures for the page, as data that stand in it: the page needs no other file and no network."""

import base64
import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator
from PIL import Image

from workflow_scripts.common.figures import METADATA, STYLE, colour, figsize
from workflow_scripts.own.calibration import USELESS

LARGEST = 420  # px on the longer side of a picture
# Proteins of epithelium, immune cells and stroma, in the order in which they are looked for.
LINEAGES = (
    ("P05787", "P05783", "P02533", "P12830", "Q16790"),
    ("P08575", "P07766", "P01732", "P34810", "P11836"),
    ("P62736", "P08670", "P02452", "P16284", "P02751"),
)
TINTS = np.array([(1.0, 0.0, 1.0), (1.0, 1.0, 0.0), (0.0, 1.0, 1.0)])


def lineage_channels(accessions):
    """Return the places of up to three channels to show: a lineage each, else what is left."""
    found = []
    for lineage in LINEAGES:
        place = next((accessions.index(a) for a in lineage if a in accessions), None)
        if place is not None and place not in found:
            found.append(place)
    rest = [place for place in range(len(accessions)) if place not in found]
    return [*found, *rest][:3]


def composite(image):
    """Return an RGB picture [H, W, 3] of up to three channels [C, H, W], each in its tint."""
    picture = np.zeros((*image.shape[1:], 3))
    for channel, tint in zip(image, TINTS, strict=False):
        picture += _stretched(channel)[..., None] * tint
    return np.clip(picture, 0, 1)


def stain_picture(channel):
    """Return a predicted channel [H, W] as an RGB picture; dark to bright is low to high."""
    return matplotlib.colormaps["magma"](_stretched(channel))[..., :3]


def as_data(picture):
    """Return (data URI, width, um of the scale bar) of an RGB picture in 0..1 at 1 um per pixel."""
    pixels = np.round(np.asarray(picture) * 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    length = max(s * 10**k for k in range(4) for s in (1, 2, 5) if s * 10**k <= max(width / 4, 1))
    step = max(1, -(-max(height, width) // LARGEST))
    small = pixels[::step, ::step].copy()
    bar = max(1, length // step)
    small[-8:-5, -8 - bar : -8] = 255
    small[-5:-4, -8 - bar : -8] = 0  # so that it shows on white, too
    data = io.BytesIO()
    Image.fromarray(small).save(data, "png", optimize=True)
    text = base64.b64encode(data.getvalue()).decode()
    return f"data:image/png;base64,{text}", small.shape[1], length


def calibration_plot(markers):
    """Return an SVG of errors against distance: hidden measured markers, and bounds of stains.

    It is markup for the page, so no text of a cohort may stand in it.
    """
    with matplotlib.style.context(STYLE):
        figure, axis = plt.subplots(figsize=figsize(89, 58), layout="constrained")
        hidden = markers[markers["measured"] & markers["error"].notna()]
        for known, kind, words in ((True, "seen_marker", "trained"), (False, "new_marker", "new")):
            rows = hidden[hidden["trained"] == known]
            label = f"measured and hidden, {words} (n = {len(rows)})"
            shape = "o" if known else "X"
            marker = {"marker": shape, "color": colour("groups", kind), "label": label}
            axis.scatter(rows["distance"], rows["error"], 12, **marker)
        stains = markers[markers["stain"] & markers["bound"].notna()]
        low = stains["expected"].astype(float)
        high = stains["bound"].astype(float)
        axis.vlines(stains["distance"], low, high, color="#555555", lw=1, label="predicted: bound")
        axis.scatter(stains["distance"], high, 14, color="#555555", marker="_")
        axis.axhline(USELESS, color="#999999", lw=0.8, ls="--")
        axis.annotate(
            "a guess of the mean", (0.5, USELESS), (0, 2), ("axes fraction", "data"),
            "offset points", ha="center", va="bottom", fontsize=5, color="#666666",
        )  # fmt: skip
        axis.set(
            xlabel="cosine distance to the nearest trained marker (ESM-2)",
            ylabel="error / standard deviation",
        )
        axis.set_ylim(0, 1.12 * np.nanmax([USELESS, hidden["error"].max(), high.max()]))
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.legend(loc="lower right", fontsize=5)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=METADATA[".svg"])
        plt.close(figure)
    drawn = text.getvalue()
    return Markup(drawn[drawn.index("<svg") :])


def _stretched(channel):
    low, high = np.quantile(channel, [0.05, 0.995])
    return np.clip((channel - low) / max(high - low, 1e-6), 0, 1)
