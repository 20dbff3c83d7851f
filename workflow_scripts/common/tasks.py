"""The clinical classes of tissues, as `tasks` of a cohort file define them."""

import pandas as pd

from workflow_scripts.common.errors import InputError


def task_classes(tissues, task, where):
    """Return the class of every tissue as a Series of str, None where it has none.

    `tissues`: table of a published cohort; `task`: {column, classes, where} of a cohort file, where
    a task without `classes` takes the column's own values; `where` names both in an error.
    Raises InputError for a column that the table lacks, or if no tissue has any of the classes.
    """
    for column in (task["column"], *task.get("where", ())):
        if column not in tissues:
            raise InputError(
                f"{where}: expected the clinical column {column!r}, but the tissues have none; "
                "correct the task or the cohort's `clinical` tables"
            )
    values = tissues[task["column"]].map(_plain)
    if "classes" in task:
        named = {
            _plain(value): name for name, values in task["classes"].items() for value in values
        }
        classes = values.map(named)
    else:
        classes = values.where(tissues[task["column"]].notna())
    for column, kept in task.get("where", {}).items():
        classes = classes.where(tissues[column].map(_plain).isin([_plain(k) for k in kept]))
    if len(tissues) and classes.isna().all():
        seen = ", ".join(sorted(set(values[tissues[task["column"]].notna()]))[:5]) or "nothing"
        raise InputError(
            f"{where}: no tissue has a class; {task['column']} holds {seen}; correct its classes"
        )
    return classes.astype(object).where(classes.notna(), None)


def _plain(value):
    """Return a value as text, in which 1, 1.0 and "1" are one, and so are True and "True"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def tissues_of(folder):
    """Return the table of the tissues of a published cohort, indexed by tissue id."""
    return pd.read_parquet(f"{folder}/metadata/tissues.parquet").set_index("tissue_id", drop=False)
