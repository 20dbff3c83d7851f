"""Which marker is measured in which cohort, with markers named alike across cohorts."""

from pathlib import Path

import pandas as pd

COLUMNS = ["cohort", "channel", "marker", "uniprot", "kind", "nuclear"]


def cohort_panel(cohort, channels, aliases):
    """Return the panel of one cohort: a row per channel with an accession.

    `channels`: the cohort's imc/channels.parquet. A marker has the name of resources/markers.csv
    where its own is listed there under the same accession, and its own otherwise.
    """
    rows = []
    for channel in channels[channels["uniprot_id"].notna()].itertuples():
        known = aliases.get(channel.channel_name.lower())
        agrees = known is not None and known["uniprot"] == channel.uniprot_id
        marker = known["marker"] if agrees else channel.channel_name
        kind = known["kind"] if agrees else "protein"
        facts = (channel.uniprot_id, kind, bool(channel.is_nuclear_marker))
        rows.append((cohort, channel.channel_name, marker, *facts))
    return pd.DataFrame(rows, columns=COLUMNS)


def read_panels(paths, aliases):
    """Return the panels of all cohorts; `paths` are <cohort>/imc/channels.parquet."""
    paths = [Path(path) for path in paths]
    frames = [cohort_panel(p.parents[1].name, pd.read_parquet(p), aliases) for p in paths]
    return pd.concat(frames, ignore_index=True)
