"""Which proteins the cohorts of a study measure."""

from pathlib import Path

import pandas as pd

from workflow_scripts.common.errors import InputError


def measured_accessions(paths):
    """Return {accession: [cohort, ...]}, sorted, of the usable channels in channels.parquet files.

    The folder of each file is the cohort's id.
    """
    cohorts = {}
    for path in map(Path, paths):
        channels = pd.read_parquet(path, columns=["uniprot_id", "qc_pass"])
        usable = channels[channels["qc_pass"] & channels["uniprot_id"].notna()]
        for accession in sorted(set(usable["uniprot_id"])):
            cohorts.setdefault(accession, []).append(path.parent.name)
    if not cohorts:
        raise InputError(
            f"{', '.join(map(str, paths))}: no channel has a UniProt accession; "
            "expected at least one; fill in `uniprot` in the panel of the cohort file"
        )
    return dict(sorted(cohorts.items()))
