"""Which tissues a classification task trains and tests on, or why it cannot."""

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.names import name
from workflow_scripts.common.tasks import task_classes

TASK_NAMES = {
    "er": "ER status",
    "erbb2": "ERBB2 status",
    "pam50": "PAM50 subtype",
    "response_pre_treatment": "response, pre-treatment",
    "response_on_treatment": "response, on treatment",
    "response_post_treatment": "response, post-treatment",
}


def title_of(cohort, task):
    """Return the two lines above a panel; that a cohort is simulated stands in the picture."""
    what = TASK_NAMES.get(task, task.replace("_", " "))
    return f"{name(cohort.removeprefix('sim_'))}\n{what}"


def problem_of(tissues, task, where, tokens=None):
    """Return what defines a classification: class of each tissue, and ids to train and test on.

    The result is {classes, labels, patients, train, test}, the arguments of `Problem` but its name.
    `tissues`: those of a published cohort by id; `task`: its definition; `where` names it in an
    error; `tokens`: the tissues that have tokens, all when None. A class that no train tissue has
    cannot be learned; test tissues of it stay in, as misses. Raises InputError when the task has no
    data in this study: its column is absent, no tissue has a class, or a split has too few.
    """
    found = task_classes(tissues, task, where).dropna()
    if tokens is not None:
        found = found[found.index.isin(tokens)]
    rows = tissues.loc[found.index]
    train, test = (sorted(found.index[rows["split"] == split]) for split in ("train", "test"))
    for split, ids in (("train", train), ("test", test)):
        kinds = sorted(set(found[ids]))
        if len(kinds) < 2:
            found_there = f"all {len(ids)} are {kinds[0]!r}" if kinds else "there are none"
            raise InputError(
                f"{where}: expected {split} tissues of two classes or more, but {found_there}; "
                "wait for more patients, or take the task out of tissue_tasks.tasks"
            )
    patients = rows["patient_id"].astype(str)
    if patients[train].nunique() < 2:
        raise InputError(
            f"{where}: expected train tissues of two patients or more, as one is held out to "
            f"validate, but all are of {patients[train[0]]}; take the task out of "
            "tissue_tasks.tasks"
        )
    learned = set(found[train])
    return {
        "classes": [kind for kind in task.get("classes", sorted(learned)) if kind in learned],
        "labels": found.to_dict(),
        "patients": patients.to_dict(),
        "train": train,
        "test": test,
    }


def class_sizes(tissues, task, where):
    """Return the tissues of each class by split: a table with columns class, train and test."""
    classes = task_classes(tissues, task, where).rename("class")
    sizes = tissues.assign(**{"class": classes}).dropna(subset=["class"])
    sizes = sizes.value_counts(["class", "split"]).unstack(fill_value=0)
    order = [kind for kind in task.get("classes", sorted(sizes.index)) if kind in sizes.index]
    return sizes.reindex(index=order, columns=["train", "test"], fill_value=0).reset_index()
