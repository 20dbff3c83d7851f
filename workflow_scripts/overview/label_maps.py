"""How a cohort's published cell phenotypes are grouped into classes (Suppl. Tables 3 to 6)."""

from pathlib import Path

import pandas as pd

from workflow_scripts.common.figures import save_target
from workflow_scripts.common.job import run
from workflow_scripts.common.validation import read_yaml

COLUMNS = ["granularity", "class", "phenotype", "cells", "provenance"]


def label_map(maps, cells):
    """Return one row per class and phenotype, with its cells after the filters.

    `maps`: `cells.maps` of the cohort's file; `cells`: its published table of cells.
    """
    rows = []
    for granularity, mapping in maps.items():
        counts = cells[mapping["from"]].value_counts()
        for group, phenotypes in mapping["to"].items():
            for phenotype in phenotypes:
                known = (granularity, group, phenotype, int(counts.get(phenotype, 0)))
                rows.append((*known, " ".join(mapping["provenance"].split())))
    return pd.DataFrame(rows, columns=COLUMNS)


def main(snakemake):
    """Write the table of the target's cohort; say why when this study lacks the cohort."""
    files, params = snakemake.input, snakemake.params
    table, status = None, f"not run: {params.cohort} is not among the cohorts of this study"
    if files.get("card"):
        maps = read_yaml(files.card).get("cells", {}).get("maps", {})
        table, status = label_map(maps, pd.read_parquet(files.cells)), "done"
        if table.empty:
            table, status = None, f"not run: the file of {params.cohort} maps no labels"
    folder = Path(snakemake.output.numbers).parent
    target = params.target
    save_target(folder, target["id"], None, table, {}, target["caption"], params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
