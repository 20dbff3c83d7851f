"""Draw one masking strategy's example: truth, masked input and reconstruction (Fig. 2a-c)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb

from workflow_scripts.common.correlation import moments, pearson
from workflow_scripts.common.figures import PALETTE, figsize, save_target, scale_bar, style
from workflow_scripts.common.job import run
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.reconstruction.evaluation import pixel_mask

HIDDEN = to_rgb(PALETTE["hidden"])


def to_intensity(image, mean, std, quantile):
    """Undo standardisation [C, H, W]: log1p counts, 1 at the image's 99th percentile.

    The logarithm stays: it is what the model sees, and faint structures are visible in it.
    """
    log1p = image * std[:, None, None] + mean[:, None, None]
    return log1p.clip(0) / np.log1p(np.maximum(quantile, 1e-6))[:, None, None]


def draw(example):
    """Return the figure: a row per view, a column per marker, one scale for all three views."""
    units = example["mean"], example["std"], example["quantile"]
    truth, guess = to_intensity(example["truth"], *units), to_intensity(example["guess"], *units)
    hidden = pixel_mask(example["mask"], truth.shape[-1] // example["mask"].shape[-1])
    columns = len(truth)
    figure, axes = plt.subplots(3, columns, figsize=figsize(89, 72), squeeze=False)
    for column, marker in enumerate(example["markers"]):
        shown = plt.get_cmap("magma")(truth[column].clip(0, 1))[..., :3]
        masked = np.where(hidden[column][..., None], HIDDEN, shown)
        rebuilt = plt.get_cmap("magma")(guess[column].clip(0, 1))[..., :3]
        views = {"measured": shown, "input": masked, "reconstruction": rebuilt}
        for axis, (label, view) in zip(axes[:, column], views.items(), strict=True):
            axis.imshow(view, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            axis.set_ylabel(label if column == 0 else "")
        axes[0, column].set_title(marker, fontsize=6)
    scale_bar(axes[0, -1])
    return figure


def scores(example, strategy):
    """Return one row per marker: where it is from and r over its hidden pixels."""
    hidden = pixel_mask(example["mask"], example["truth"].shape[-1] // example["mask"].shape[-1])
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


def main(snakemake):
    """Draw the picture, or record that no test crop could be scored."""
    style()
    params = snakemake.params
    weights = weights_of(snakemake.input.metrics)
    with np.load(snakemake.input.example) as file:
        example = dict(file)
    figure, table, numbers, status = None, None, {}, "not run: no test crop could be scored"
    if example:
        figure, table, status = draw(example), scores(example, params.strategy), "done"
        for row in table.itertuples():
            # One region; marker masking draws nothing, so that no seed belongs to it.
            seeds = [] if params.strategy == "marker" else params.seeds[:1]
            common = {"n": 1, "seeds": seeds, "weights": weights}
            undefined = np.isnan(row.pearson_r)
            numbers[f"r_{row.marker}"] = (
                not_run("r is undefined, the marker is constant in this region")
                if undefined
                else number(row.pearson_r, **common)
            )
    folder = Path(snakemake.output.numbers).parent
    caption, simulated = params.target["caption"], params.simulated
    save_target(folder, params.target["id"], figure, table, numbers, caption, simulated, status)


if __name__ == "__main__":
    run(main, globals())
