"""Which model is best at which task: macro-F1 of every model on cells and on whole tissues."""

from workflow_scripts.common.names import name
from workflow_scripts.report import wording

# Figures whose numbers are macro-F1 by cohort, task and model, and what they classify.
SCORED = {"fig3b": "Cells", "figS16": "Cells", "figS17": "Cells", "fig4f": "Tissues"}
PREFIX = "macro_f1_"


def score_table(records, cohorts, models):
    """Return {"models": [...], "rows": [...]} from the keys `macro_f1_<cohort>_<task>_<model>`.

    `records`: {target: its numbers.json}; `cohorts`, `models`: every id that a key may hold. A
    row has a cell per model, None where that model was not meant for the task, and knows which
    model is best: the highest score, whether or not its interval is apart from the next.
    """
    rows, used = {}, []
    for target, level in SCORED.items():
        for key, entry in records.get(target, {"numbers": {}})["numbers"].items():
            parts = split_key(key, cohorts, models)
            if parts is None:
                continue
            cohort, task, model = parts
            place = (level, cohort, task)
            rows.setdefault(place, {"target": target, "entries": {}})["entries"][model] = entry
            used += [model] if model not in used else []
    used.sort(key=lambda model: models.index(model))
    table = [_row(*place, row, used) for place, row in rows.items()]
    order = {cohort: place for place, cohort in enumerate(cohorts)}
    table.sort(key=lambda row: (row["level"], order[row["cohort"]]))
    return {"models": used, "rows": table}


def split_key(key, cohorts, models):
    """Return (cohort, task, model) of a key, or None if it is none of a macro-F1."""
    if not key.startswith(PREFIX):
        return None
    rest = key.removeprefix(PREFIX)
    # Names may hold underscores: the longest that fits is meant.
    cohort = max((c for c in cohorts if rest.startswith(f"{c}_")), key=len, default=None)
    model = max((m for m in models if rest.endswith(f"_{m}")), key=len, default=None)
    if cohort is None or model is None:
        return None
    task = rest[len(cohort) + 1 : -len(model) - 1]
    return (cohort, task, model) if task else None


def _row(level, cohort, task, row, models):
    entries = row["entries"]
    values = {m: e["value"] for m, e in entries.items() if e["value"] is not None}
    best = max(values.values(), default=None)
    cells = [_cell(entries.get(model), best) for model in models]
    facts = {"level": level, "cohort": cohort, "task": task.replace("_", " ")}
    n = [entry["n"] for entry in entries.values() if entry["n"] is not None]
    return facts | {
        "target": row["target"],
        "n": max(n, default=None),
        "cells": cells,
        "best": " and ".join(name(m) for m, value in values.items() if value == best),
    }


def _cell(entry, best):
    if entry is None:
        return None
    return {
        "value": wording.figure(entry["value"], "0.000"),
        "interval": wording.interval(entry["low"], entry["high"], "0.000"),
        "best": entry["value"] is not None and entry["value"] == best,
        "why": entry["status"].partition(":")[2].strip(),
        "careful": entry["careful"]
        and f"{wording.figure(entry['careful']['value'], '0.000')} {entry['careful']['label']}",
    }
