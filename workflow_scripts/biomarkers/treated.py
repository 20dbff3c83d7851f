"""The treated patients of a cohort: who responds, and when each was sampled (Fig. 5a, 5b)."""

import pandas as pd

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.tasks import task_classes

GROUPS = ("responder", "non_responder")


def treated_tissues(tissues, task, settings, where):
    """Return the tissues of patients with the treatment in question and a known response.

    `tissues`: table of a published cohort by tissue id; `task`: the response of a cohort file,
    whose first class is a response, and whose own `where` is replaced by `settings["patients"]`,
    columns and their values. Returns a table tissue_id, patient_id, time, group, per_protocol
    (bool), and a funnel: condition, patients, tissues left (D27). Raises InputError, which names
    `where`, for a clinical column that is absent, nobody with the treatment, and a patient in both
    groups.
    """
    for column in (settings["visit"], *settings["patients"], *settings["per_protocol"]):
        if column not in tissues:
            raise InputError(
                f"{where}: expected the clinical column {column!r}, but the tissues have none; "
                "correct the section `response` or the cohort's `clinical` tables"
            )
    classes = task_classes(tissues, {**task, "where": {}}, where)
    first = next(iter(task["classes"]))
    group = classes.map(lambda name: GROUPS[name != first], na_action="ignore")
    steps = {"in the cohort": pd.Series(True, index=tissues.index)}
    for column, values in settings["patients"].items():
        kept = {"column": column, "classes": {"kept": values}}
        fits = _fits(tissues, kept, where)
        steps[f"{column} is {' or '.join(map(str, values))}"] = fits
    steps[f"{task['column']} is known"] = group.notna()
    steps["sampled at one of the times"] = tissues[settings["visit"]].isin(settings["times"])
    kept, funnel = pd.Series(True, index=tissues.index), []
    for condition, fits in steps.items():
        kept &= fits
        funnel.append(_count(condition, tissues[kept]))
    protocol = pd.Series(True, index=tissues.index)
    for column, values in settings["per_protocol"].items():
        protocol &= _fits(tissues, {"column": column, "classes": {"kept": values}}, where)
    before = tissues[settings["visit"]] == settings["times"][0]
    funnel.append(_count("treated per protocol", tissues[kept & protocol]))
    condition = f"of these, sampled at {settings['times'][0]}"
    funnel.append(_count(condition, tissues[kept & protocol & before]))
    columns = {"patient_id": tissues["patient_id"].astype(str), "time": tissues[settings["visit"]]}
    table = pd.DataFrame({**columns, "group": group, "per_protocol": protocol})[kept]
    groups = table.groupby("patient_id")["group"].nunique()
    if (groups > 1).any():
        raise InputError(
            f"{where}: patient {groups.index[groups > 1][0]} has tissues of both classes of "
            f"{task['column']}; expected one outcome per patient; correct the `clinical` tables"
        )
    if table.empty:
        raise InputError(
            f"{where}: no patient is left after {' and '.join(steps)}; widen response.patients"
        )
    return table.rename_axis("tissue_id").reset_index(), pd.DataFrame(funnel)


def _fits(tissues, kept, where):
    """Return which tissues have one of the values; none of them may."""
    try:
        return task_classes(tissues, kept, where).notna()
    except InputError:  # no tissue has any
        return pd.Series(False, index=tissues.index)


def _count(condition, tissues):
    patients = tissues["patient_id"].nunique()
    return {"condition": condition, "patients": patients, "tissues": len(tissues)}


def visit_counts(table, times):
    """Return patients and samples of each group at each time, absent times with 0: tidy rows."""
    rows = []
    for group in GROUPS:
        for time in times:
            part = table[(table["group"] == group) & (table["time"] == time)]
            counts = {"patients": part["patient_id"].nunique(), "samples": len(part)}
            rows.append({"group": group, "time": time} | counts)
    return pd.DataFrame(rows)
