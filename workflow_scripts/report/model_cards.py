"""A model card for every model of a run: what it saw, what it is for, what it is not for."""

from workflow_scripts.common.names import name

KINDS = {"camae": "CA-MAE, a rival", "kronos": "KRONOS, a rival"}


def model_cards(models, cohorts, scores, simulated):
    """Return one dict per model, ready for the template `model_card.md`.

    `models`: rows of `tables.model_row`; `cohorts`: rows of `tables.cohort_row`; `scores`: the
    answer of `score_table`.
    """
    licences = {row["id"]: row["licence"] or "not stated" for row in cohorts}
    return [
        {
            **model,
            "name": name(model["instance"]),
            "kind": KINDS.get(model["instance"].split("_")[0], "VirTues"),
            "simulated": simulated,
            "licences": {c: licences.get(c, "not stated") for c in model["cohorts"] or []},
            "scores": _scores(model["instance"], scores),
        }
        for model in models
    ]


def _scores(instance, scores):
    """Return (level, cohort, task, value, interval) of the tasks that an instance was tried on."""
    if instance not in scores["models"]:
        return []
    place = scores["models"].index(instance)
    rows = [(row, row["cells"][place]) for row in scores["rows"]]
    return [
        (row["level"], name(row["cohort"]), row["task"], cell["value"], cell["interval"])
        for row, cell in rows
        if cell and not cell["why"]
    ]
