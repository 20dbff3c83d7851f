"""Cell masks in the colours of transferred labels beside the published ones (Fig. 3f, D30)."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.patches import Patch

from workflow_scripts.common.cell_pictures import cell_picture, colours_of
from workflow_scripts.common.cohort_files import MASKS
from workflow_scripts.common.figures import figsize, save_target, scale_bar, style
from workflow_scripts.common.images import read_mask
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import number

SHOWN = 2  # tissues
FEWEST = 3  # types that a tissue must have to be shown


def median_tissues(cells):
    """Return the `SHOWN` tissues around the median share of right labels, of those with variety."""
    tissues = cells.assign(right=cells["truth"] == cells["predicted"]).groupby("tissue_id")
    varied = tissues["truth"].nunique() >= min(FEWEST, cells["truth"].nunique())
    shares = tissues["right"].mean()[varied].sort_values(kind="stable")
    middle = max(0, (len(shares) - SHOWN) // 2)
    return list(shares.index[middle : middle + SHOWN])


def draw(tables, tissues, folder):
    """Return the figure: a row per tissue, a column per model, the published labels last."""
    first = next(iter(tables.values()))
    colours = colours_of(pd.concat([t[c] for t in tables.values() for c in ("truth", "predicted")]))
    views = [(name(model), table, "predicted") for model, table in tables.items()]
    views.append(("published labels", first, "truth"))
    size = figsize(183, 14 + len(tissues) * 172 / len(views))
    figure, axes = plt.subplots(len(tissues), len(views), figsize=size, squeeze=False)
    for row, tissue in zip(axes, tissues, strict=True):
        mask = read_mask(folder / MASKS / "cell_masks/instances" / f"{tissue}.npz")
        for axis, (title, table, column) in zip(row, views, strict=True):
            cells = table[table["tissue_id"] == tissue]
            labels = cells.set_index("cell_id")[column]
            axis.imshow(cell_picture(mask, labels, colours), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            right = (cells["truth"] == cells["predicted"]).mean()
            share = f"{100 * right:.0f} % of {len(cells):,} cells right"
            axis.set_xlabel(tissue if column == "truth" else share)
            if axis in axes[0]:
                axis.set_title(title)
        scale_bar(row[-1], colour="black")
    handles = [Patch(color=shade, label=kind) for kind, shade in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def main(snakemake):
    """Draw two tissues as every model shown labels them; where there are none, say why."""
    style()
    params, tables = snakemake.params, {}
    for path in map(Path, snakemake.input.cells):
        cells = pd.read_parquet(path)
        if len(cells):
            tables[path.parent.name] = cells
    figure, source, numbers = None, None, {}
    status = f"not run: {params.reason or 'no model could transfer labels'}"
    if tables:
        tissues = median_tissues(next(iter(tables.values())))
        figure, status = draw(tables, tissues, Path(params.cohort_folder)), "done"
        shown = [t[t["tissue_id"].isin(tissues)].assign(model=m) for m, t in tables.items()]
        source = pd.concat(shown)
        for (model, tissue), part in source.groupby(["model", "tissue_id"], sort=False):
            right = (part["truth"] == part["predicted"]).mean()
            numbers[f"right_{model}_{tissue}"] = number(right, n=len(part))
    folder = Path(snakemake.output.numbers).parent
    caption = params.target["caption"]
    save_target(folder, "fig3f", figure, source, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
