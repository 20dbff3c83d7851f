"""What rule transfer_signatures wrote, as figures read it, and what they say where it is none."""

import json
from pathlib import Path

import pandas as pd

from workflow_scripts.common.figures import save_target
from workflow_scripts.common.numbers import not_run
from workflow_scripts.common.survival import unusable


def read_transfer(files, reason):
    """Return (patients, facts, reason); a reason says why there is nothing to read."""
    if reason:
        return None, {}, reason
    facts = json.loads(Path(files.facts).read_text(encoding="utf-8"))
    if facts["status"] != "done":
        return None, facts, facts["status"].removeprefix("not run: ")
    return pd.read_parquet(files.patients), facts, ""


def read_followed(files, reason):
    """Return (patients, follow-up, facts, reason); a reason says why groups cannot be compared."""
    patients, facts, reason = read_transfer(files, reason)
    if reason:
        return patients, None, facts, reason
    patients, follow, reason = followed(patients, facts)
    return patients, follow, facts, reason


def followed(patients, facts):
    """Return the patients with follow-up, their follow-up, and why groups cannot be told apart."""
    if "survival" in facts["absent"]:
        return patients[:0], None, facts["absent"]["survival"]
    patients = patients[patients["event"].notna()].reset_index(drop=True)
    follow = patients[["time", "event"]].astype({"time": float, "event": bool})
    return patients, follow, unusable(follow) or ""


def save(snakemake, figure, source, numbers, reason=""):
    """Write the target; with a reason, no picture, and every statement is not run for it."""
    target = snakemake.params.target
    if reason:
        figure = source = None
        numbers = numbers | {claim: not_run(reason) for claim in target["claims"]}
    save_target(
        Path(snakemake.output.numbers).parent,
        target["id"],
        figure,
        source,
        numbers,
        target["caption"],
        snakemake.params.simulated,
        f"not run: {reason}" if reason else "done",
    )


def counts(facts):
    """Return how many patients there were, who dropped out and what was seen: words of a reason."""
    words = [f"{n} without follow-up: {why}" for why, n in facts.get("dropped", {}).items()]
    words.append(f"cells seen through the {facts['markers']}")
    return "; ".join([f"of {facts['patients']} patients with tumour cells", *words])
