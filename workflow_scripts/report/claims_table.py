"""Put every statement of the paper beside our number and give each its verdict."""

import os
from collections import Counter
from pathlib import Path

import pandas as pd

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.numbers import read_numbers
from workflow_scripts.common.targets import COLUMNS, by_claim, load_claims, load_targets
from workflow_scripts.common.verdict import kind, verdict

OURS = ["ours", "low", "high", "n", "seeds", "weights", "careful", "careful_label"]


def claims_table(claims, owner, records):
    """Return one row per claim: its columns, ours, the careful figure, verdict, reason, target.

    `claims`: rows of resources/claims.csv; `owner`: {claim id: target id}; `records`:
    {target id: record of its numbers.json}.
    """
    _refuse_strays(owner, records)
    rows = []
    for claim in claims:
        target = owner[claim["id"]]
        record = records.get(target)
        if record is None:
            raise InputError(f"{target}: no numbers.json, needed for {claim['id']}; run its rule")
        entry = record["numbers"].get(claim["id"])
        if entry is None and record["status"] != "done":
            name, reason = record["status"], ""
        else:
            name, reason = verdict(claim, entry, record["simulated"])
        rows.append({**claim, **_ours(entry), "verdict": name, "reason": reason, "target": target})
    return pd.DataFrame(rows, columns=[*COLUMNS, *OURS, "verdict", "reason", "target"])


def _refuse_strays(owner, records):
    for target, record in records.items():
        for key in record["numbers"]:
            if owner.get(key, target) != target:
                raise InputError(
                    f"{target}/numbers.json: {key} belongs to {owner[key]}; write it there"
                )


def _ours(entry):
    if entry is None:
        return dict.fromkeys(OURS)
    careful = entry["careful"] or {"value": None, "label": None}
    return {
        "ours": entry["value"],
        "low": entry["low"],
        "high": entry["high"],
        "n": entry["n"],
        "seeds": " ".join(map(str, entry["seeds"])),
        "weights": entry["weights"],
        "careful": careful["value"],
        "careful_label": careful["label"],
    }


def write_table(table, path):
    """Write the table to `path` (csv), whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    table.astype({"n": "Int64"}).to_csv(part, index=False, lineterminator="\n")
    os.replace(part, path)


def main(snakemake):
    """Unpack the job."""
    claims = load_claims(snakemake.input.claims)
    owner = by_claim(load_targets(snakemake.input.figures), claims, snakemake.input.figures)
    records = [read_numbers(path) for path in snakemake.input.numbers]
    table = claims_table(claims, owner, {record["target"]: record for record in records})
    write_table(table, Path(snakemake.output.table))
    counts = Counter(map(kind, table["verdict"]))
    log.info("%d statements: %s", len(table), ", ".join(f"{n} {k}" for k, n in counts.items()))


if __name__ == "__main__":
    run(main, globals())
