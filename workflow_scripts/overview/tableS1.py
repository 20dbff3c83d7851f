"""Origin and size of all cohorts, as ingested and as published (Suppl. Table 1)."""

from pathlib import Path

import pandas as pd

from workflow_scripts.common.cohort import load_cohort, not_ingested
from workflow_scripts.common.figures import save_target
from workflow_scripts.common.job import log, run
from workflow_scripts.common.numbers import number
from workflow_scripts.overview.sizes import patients_on_both_sides, read_sizes

ORIGIN = ("title", "citation", "licence", "access")
PUBLISHED = ("images", "patients", "cells")


def origin(cohort, status):
    """Return what a cohort's file says of it (a dict), with the published sizes that are known."""
    sizes = {f"published_{key}": cohort.published.get(key) for key in PUBLISHED}
    source = {"published_source": cohort.published.get("provenance", "")}
    facts = {key: getattr(cohort, key) for key in ORIGIN}
    return {"cohort": cohort.id, "status": status, **sizes, **source, **facts}


def all_cohorts(sizes, cohorts, absent):
    """Return one row per cohort: those of `sizes`, then the paper's others with the reason.

    `cohorts`: the files of those of `sizes`; `absent`: id -> why its data are not here.
    """
    rows = [origin(cohort, "ingested") for cohort in cohorts]
    others = not_ingested([cohort.id for cohort in cohorts], absent)
    rows += [origin(cohort, f"not run: {reason}") for cohort, reason in others]
    table = pd.DataFrame(rows).merge(sizes, on="cohort", how="left")
    counts = [name for name in sizes if name not in ("cohort", "tissue_mm2")]
    counts += [f"published_{key}" for key in PUBLISHED]
    return table.astype(dict.fromkeys(counts, "Int64"))


def leaking(patients):
    """Return the entry of patients that one cohort trains on and another tests with.

    `patients`: {id: cohorts}.
    """
    if not patients:
        return number(0)
    patient, cohorts = next(iter(patients.items()))
    reason = (
        f"{patient} of {' and '.join(cohorts)}: if the ids are of one person, give it one side by "
        "`split` of both cohort files"
    )
    log.warning("patients for training and for testing (%d): %s", len(patients), reason)
    return number(len(patients), reason=reason)


def main(snakemake):
    """Write the table; it has no picture."""
    params = snakemake.params
    cohorts = [load_cohort(path) for path in snakemake.input.cards]
    table = all_cohorts(read_sizes(params.cohort_folders), cohorts, params.absent)
    numbers = {"patients_on_both_sides": leaking(patients_on_both_sides(params.cohort_folders))}
    folder, caption = Path(snakemake.output.numbers).parent, params.target["caption"]
    save_target(folder, "tableS1", None, table, numbers, caption, params.simulated)


if __name__ == "__main__":
    run(main, globals())
