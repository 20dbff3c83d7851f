"""Tiles of example pictures: measured, masked and reconstructed regions on one scale."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgb

from workflow_scripts.common.correlation import moments, pearson
from workflow_scripts.common.figures import PALETTE, scale_bar
from workflow_scripts.reconstruction.evaluation import pixel_mask

HIDDEN = to_rgb(PALETTE["hidden"])
COLOURS = "magma"
SCALES = {
    "counts": "counts / 99th percentile",
    "log1p": "log(1 + counts) / log(1 + 99th percentile)",
}
VIEWS = ("measured", "input", "reconstruction")


def to_intensity(image, mean, std, quantile, scale):
    """Undo standardisation [C, H, W]; 0 is no signal and 1 the image's 99th percentile.

    `scale`: counts as printed, or log1p, the space of the model, in which faint structures show.
    """
    log1p = (image * std[:, None, None] + mean[:, None, None]).clip(0)
    top = np.maximum(quantile, 1e-6)[:, None, None]
    return np.expm1(log1p) / top if scale == "counts" else log1p / np.log1p(top)


def hidden_pixels(example):
    """Return which pixels [C, H, W] of an example were hidden from the model."""
    return pixel_mask(example["mask"], example["truth"].shape[-1] // example["mask"].shape[-1])


def views(example, scale):
    """Return {view: pictures [C, H, W, 3]} of an example, on one scale; hidden patches are grey."""
    units = example["mean"], example["std"], example["quantile"], scale
    truth, guess = (
        plt.get_cmap(COLOURS)(to_intensity(example[key], *units).clip(0, 1))[..., :3]
        for key in ("truth", "guess")
    )
    masked = np.where(hidden_pixels(example)[..., None], HIDDEN, truth)
    return dict(zip(VIEWS, (truth, masked, guess), strict=True))


def small_scale_bar(axis):
    """Draw a scale bar long enough for its label in a small tile."""
    width = np.ptp(axis.get_xlim())
    scale_bar(axis, length=max(um for um in (10, 20, 50, 100, 200) if um <= max(10, 0.45 * width)))


def intensity_bar(axes, scale):
    """Draw below `axes` which intensity a colour stands for, and that grey is hidden."""
    figure = axes.flat[0].figure
    shades = ScalarMappable(plt.Normalize(0, 1), COLOURS)
    bar = figure.colorbar(shades, ax=axes, location="bottom", shrink=0.4, aspect=50, pad=0.01)
    bar.set_label(f"{SCALES[scale]}; grey: hidden", fontsize=5, labelpad=1)
    bar.set_ticks([0, 0.5, 1], labels=["0", "0.5", "≥ 1"], fontsize=5)
    bar.outline.set_visible(False)


def tile(axis, picture):
    """Show a picture without axes."""
    axis.imshow(picture, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def scores(example, strategy):
    """Return one row per marker: where it is from and r over its hidden pixels."""
    hidden = hidden_pixels(example)
    cohort, tissue, row, col = example["where"]
    return pd.DataFrame(
        {
            "strategy": strategy,
            "cohort": cohort,
            "tissue_id": tissue,
            "row_um": int(row),
            "col_um": int(col),
            "marker": example["markers"],
            "hidden_pixels": hidden.sum(axis=(1, 2)),
            "pearson_r": [
                float(pearson(moments(t[h], g[h])))
                for t, g, h in zip(example["truth"], example["guess"], hidden, strict=True)
            ],
        }
    )


def only(example, places):
    """Return an example of fewer channels; `places`: which, in their order."""
    whole = {"where": example["where"]}
    return whole | {key: array[places] for key, array in example.items() if key != "where"}
