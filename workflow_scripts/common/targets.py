"""The paper's figure targets and its statements, checked against each other."""

import csv
from pathlib import Path

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.validation import check, read_yaml

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
FIGURES = RESOURCES / "figures.yaml"
CLAIMS = RESOURCES / "claims.csv"
COLUMNS = ["id", "figure", "quantity", "dataset", "model", "metric", "relation", "value", "note"]


def load_targets(path=FIGURES):
    """Return the targets of figures.yaml in the paper's order, a list of dicts.

    Raises InputError for an unknown key, a target given twice or a claim in two targets.
    """
    targets = read_yaml(path)
    check(targets, read_yaml(RESOURCES / "figures.schema.yaml"), path)
    seen = {}
    for target in targets["targets"]:
        for name in (target["id"], *target["claims"]):
            if name in seen:
                raise InputError(
                    f"{path}: {name} stands under {seen[name]} and under {target['id']}; "
                    "keep it in one place"
                )
            seen[name] = target["id"]
    return targets["targets"]


def load_claims(path=CLAIMS):
    """Return the rows of a claims table, a list of dicts of texts (printed digits matter)."""
    path = Path(path)
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != COLUMNS:
            raise InputError(f"{path}: header: expected the columns {', '.join(COLUMNS)}")
        return list(reader)


def numbered(targets):
    """Return the ids of all targets that have a numbers.json: schematics have nothing to draw."""
    return [t["id"] for t in targets if t["kind"] != "schematic"]


def by_claim(targets, claims, path=FIGURES):
    """Return {claim id: target id}; an InputError names the first claim without a target."""
    owner = {claim: target["id"] for target in targets for claim in target["claims"]}
    ids = [claim["id"] for claim in claims]
    for claim in ids:
        if claim not in owner:
            raise InputError(f"{path}: statement {claim} has no target; add it to one target")
    for claim in owner:
        if claim not in ids:
            raise InputError(
                f"{path}: {owner[claim]} carries {claim}, which is no row of the claims table; "
                "remove it or add the row"
            )
    return owner
