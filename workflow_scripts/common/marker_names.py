"""The markers of all panels by every name that they go by (resources/markers.csv)."""

import csv
from pathlib import Path

MARKERS = Path(__file__).resolve().parents[2] / "resources/markers.csv"


def read_aliases(path=MARKERS):
    """Return {spelling in lower case: row of resources/markers.csv}, names before aliases."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = {row["marker"].lower(): row for row in rows}
    for row in rows:
        for alias in filter(None, row["aliases"].split(";")):
            known.setdefault(alias.lower(), row)
    return known
