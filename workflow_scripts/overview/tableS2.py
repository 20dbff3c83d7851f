"""Every marker with its accession and the cohorts that measure it (Suppl. Table 2)."""

from pathlib import Path

import pandas as pd

from workflow_scripts.common.figures import save_target
from workflow_scripts.common.job import run
from workflow_scripts.common.marker_names import read_aliases
from workflow_scripts.overview.panels import read_panels


def marker_table(panels):
    """Return one row per marker and accession, and a column of channels per cohort."""
    channels = panels.pivot_table(
        index=["marker", "uniprot", "kind"],
        columns="cohort",
        values="channel",
        aggfunc=lambda names: "; ".join(sorted(names)),
        fill_value="",
    )
    return pd.DataFrame(channels[list(panels["cohort"].unique())]).reset_index()


def main(snakemake):
    """Write the table; it has no picture."""
    params = snakemake.params
    panels = read_panels(snakemake.input.channels, read_aliases(snakemake.input.markers))
    folder, caption = Path(snakemake.output.numbers).parent, params.target["caption"]
    save_target(folder, "tableS2", None, marker_table(panels), {}, caption, params.simulated)


if __name__ == "__main__":
    run(main, globals())
