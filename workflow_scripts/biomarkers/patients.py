"""Whose cells the signatures are searched in: every exclusion is counted (Methods, D27)."""

import pandas as pd

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.tasks import task_classes


def choose_tissues(tissues, task, visit, before, patients, where):
    """Return the tissues in question and how many patients and tissues each condition leaves.

    `tissues`: table of a published cohort, indexed by tissue. Kept are samples whose column `visit`
    is `before`, of patients that fit `patients` ({column: values}, in place of the task's own
    `where`) and have one of the two classes of `task`, of which the first is the response. Returns
    the kept rows with a bool column `responds`, and the table (condition, patients, tissues).

    Raises InputError, with `where` before the sentence, for a column that is absent, a time without
    a sample, a patient of both classes, and patients of one class only.
    """
    absent = [column for column in (visit, *patients) if column not in tissues]
    if absent:
        raise InputError(
            f"{where}: expected the clinical column {absent[0]!r}, but the tissues have none; "
            "correct the setting or the cohort's `clinical` tables"
        )
    conditions = {f"{visit} is {before}": tissues[visit].astype(str) == str(before)}
    if not conditions[f"{visit} is {before}"].any():
        seen = ", ".join(sorted(set(tissues[visit].dropna().astype(str)))) or "nothing"
        raise InputError(
            f"{where}: no tissue was sampled at {visit} = {before!r}, the column holds {seen}; "
            "correct biomarkers.before"
        )
    for column, values in patients.items():
        words = f"{column} is {' or '.join(map(str, values))}"
        conditions[words] = tissues[column].astype(str).isin([str(value) for value in values])
    classes = task_classes(tissues, {**task, "where": {}}, where)
    conditions[f"{task['column']} is known"] = classes.notna()
    rows, kept = [_count("all", tissues)], pd.Series(True, index=tissues.index)
    for words, fits in conditions.items():
        kept &= fits
        rows.append(_count(words, tissues[kept]))
    response = next(iter(task["classes"]))
    chosen = tissues[kept].assign(responds=(classes == response)[kept])
    _check_classes(chosen, task, where)
    return chosen, pd.DataFrame(rows)


def _count(words, tissues):
    return {
        "condition": words,
        "patients": tissues["patient_id"].nunique(),
        "tissues": len(tissues),
    }


def _check_classes(chosen, task, where):
    """Raise InputError unless each patient has one class and both classes have patients."""
    classes = chosen.groupby("patient_id")["responds"].nunique()
    both = classes.index[classes > 1]
    if len(both):
        raise InputError(
            f"{where}: patient {both[0]} has tissues of both classes of {task['column']}; expected "
            "one outcome per patient; correct the cohort's `clinical` tables"
        )
    responds = chosen.groupby("patient_id")["responds"].first()
    if responds.nunique() < 2:
        seen = "none is left" if chosen.empty else f"all {len(responds)} have one class"
        raise InputError(
            f"{where}: expected patients with and without response before treatment, but {seen}; "
            "widen biomarkers.patients or add samples"
        )
