"""Which proteins an own cohort needs embeddings of: measured, trained on, and to be predicted."""

import pandas as pd

from workflow_scripts.common.accession import ACCESSION
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.marker_names import read_aliases

COLUMNS = ["uniprot_id", "marker", "measured", "trained", "stain", "qc_pass"]


def resolve_stains(wanted, aliases, where):
    """Return {accession: name} of markers by any of their names, or by accession.

    `aliases`: answer of `read_aliases`. InputError for a name that has no accession.
    """
    by_gene = {row["gene"].lower(): row for row in aliases.values() if row.get("gene")}
    stains = {}
    for name in wanted:
        if ACCESSION.fullmatch(name):
            known = [row["marker"] for row in aliases.values() if row["uniprot"] == name]
            stains[name] = known[0] if known else name
            continue
        row = aliases.get(name.lower()) or by_gene.get(name.lower())
        if row is None or not row["uniprot"]:
            raise InputError(
                f"{where}: own.stain: no accession is known of {name!r}; expected a marker of "
                "resources/markers.csv or a UniProt accession such as P01732; write the accession."
            )
        stains[row["uniprot"]] = row["marker"]
    return stains


def marker_table(measured, trained, stains):
    """Return the table of `COLUMNS`, one row per protein.

    `measured`, `trained`, `stains`: {accession: name}. What is measured is not predicted.
    """
    names = trained | stains | measured  # the user's own names win
    rows = [
        (a, names[a], a in measured, a in trained, a in stains and a not in measured, True)
        for a in sorted(names)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def named(channels):
    """Return {accession: name} of the usable channels of a channels.parquet."""
    table = pd.read_parquet(channels)
    table = table[table["qc_pass"] & table["uniprot_id"].notna()].drop_duplicates("uniprot_id")
    return dict(zip(table["uniprot_id"], table["channel_name"], strict=True))


def main(snakemake):
    """Write the list; it has the form in which the rules of stage markers read a panel."""
    files, params = snakemake.input, snakemake.params
    trained = dict(params.trained)
    for path in files.trained:
        trained |= named(path)
    if params.panel is not None:
        trained = {accession: trained.get(accession, m) for accession, m in params.panel.items()}
    measured = named(files.channels)
    stains = resolve_stains(params.stain, read_aliases(), params.where)
    table = marker_table(measured, trained, stains)
    for accession in sorted(set(stains) & set(measured)):
        log.info("%s is measured and so not predicted", measured[accession])
    log.info(
        "%d proteins measured, %d trained on, %d predicted",
        *(table[name].sum() for name in ("measured", "trained", "stain")),
    )
    table.to_parquet(snakemake.output.markers, index=False)


if __name__ == "__main__":
    run(main, globals())
