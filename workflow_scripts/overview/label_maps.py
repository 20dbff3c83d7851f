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


def table_of(files, cohort):
    """Return a cohort's table and its status, which says why there is none.

    `files`: the paths `card`, its YAML file, and `cells`; empty if this study lacks the cohort.
    """
    if not files:
        return None, f"not run: {cohort} is not among the cohorts of this study"
    maps = read_yaml(files["card"]).get("cells", {}).get("maps", {})
    table = label_map(maps, pd.read_parquet(files["cells"]))
    if table.empty:
        return None, f"not run: the file of {cohort} maps no labels"
    return table, "done"


def main(snakemake):
    """Write the table of every target."""
    params = snakemake.params
    for target, path in zip(params.targets, snakemake.output.numbers, strict=True):
        name = target["id"]
        table, status = table_of(params.files[name], params.cohorts[name])
        caption = target["caption"]
        save_target(Path(path).parent, name, None, table, {}, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
