"""The paper's statements about tissue classification, from the results of Fig. 4f."""

import pandas as pd

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number
from workflow_scripts.common.tasks import task_classes
from workflow_scripts.patients.tissue_results import f1_number, gain_number, p_number

RIVALS = ("kronos", "camae", "resnet50")  # that the paper's statements compare with
BEST, WORST = "the best baseline", "the comparison with the largest p"
CORDS, DANENBERG, WANG = "cords2024", "danenberg2022", "wang2023"
PRE, ON, POST = (f"response_{time}_treatment" for time in ("pre", "on", "post"))

IMAGES = {"C014": CORDS, "C015": DANENBERG, "C016": WANG}
IMAGES_AT = {"C017": PRE, "C018": ON, "C019": POST}
SHARE = "C067"
# statement: cohort, task and model, where None is VirTues
F1 = {
    "C050": (CORDS, "subtype", None),
    "C051": (CORDS, "grade", None),
    "C052": (DANENBERG, "er", None),
    "C053": (DANENBERG, "erbb2", None),
    "C054": (DANENBERG, "grade", None),
    "C055": (DANENBERG, "pam50", None),
    "C056": (WANG, PRE, None),
    "C057": (WANG, PRE, "camae"),
    "C058": (WANG, ON, None),
    "C059": (WANG, POST, None),
}
# statement: cohort, task and the model that VirTues is compared with
GAIN = {
    "C121": (CORDS, "subtype", "kronos"),
    "C122": (CORDS, "grade", "kronos"),
    "C123": (DANENBERG, "er", "kronos"),
    "C124": (DANENBERG, "erbb2", BEST),
    "C125": (DANENBERG, "grade", BEST),
    "C126": (DANENBERG, "pam50", BEST),
    "C127": (WANG, PRE, "kronos"),
    "C128": (WANG, PRE, "resnet50"),
    "C129": (WANG, ON, "kronos"),
    "C130": (WANG, ON, "camae"),
    "C131": (WANG, ON, "resnet50"),
    "C132": (WANG, POST, "kronos"),
    "C133": (WANG, POST, "camae"),
    "C134": (WANG, POST, "resnet50"),
}
P_VALUE = {
    "C135": (CORDS, "subtype", "kronos"),
    "C136": (CORDS, "grade", "kronos"),
    "C137": (DANENBERG, "er", "kronos"),
    "C138": (DANENBERG, "erbb2", BEST),
    "C139": (DANENBERG, "grade", BEST),
    "C140": (DANENBERG, "pam50", BEST),
    "C141": (WANG, PRE, "kronos"),
    "C142": (WANG, PRE, "resnet50"),
    "C143": (WANG, PRE, "camae"),
    "C144": (WANG, ON, WORST),
    "C145": (WANG, POST, "kronos"),
    "C146": (WANG, POST, "camae"),
    "C147": (WANG, POST, "resnet50"),
}


def statements(results, virtues, weights, why_not):
    """Return the entries of F1, GAIN and P_VALUE; `why_not(cohort, task)` says why there is none.

    A simulated cohort stands for the one that it imitates.
    """
    found = {(r.cohort.removeprefix("sim_"), r.task): r for r in results}
    numbers = {}
    for claims, entry in ((F1, None), (GAIN, gain_number), (P_VALUE, p_number)):
        for claim, (cohort, task, model) in claims.items():
            result = found.get((cohort, task))
            if result is None:
                numbers[claim] = not_run(why_not(cohort, task))
            elif entry is None:
                numbers[claim] = _f1_statement(result, model or virtues, weights)
            else:
                numbers[claim] = _comparison(result, model, virtues, weights, entry)
    return numbers


def _f1_statement(result, model, weights):
    if model in result.images:
        return f1_number(result, model, weights)
    return not_run(f"{name(model)} has no tokens of {name(result.cohort)}")


def _comparison(result, rival, virtues, weights, entry):
    wanted = RIVALS if rival in (BEST, WORST) else (rival,)
    lacking = [r for r in wanted if r not in result.comparisons]
    if lacking:
        absent = " and ".join(map(name, lacking))
        return not_run(f"{absent} not evaluated on {name(result.cohort)}")
    reason = None
    if rival == BEST:
        rival = max(wanted, key=lambda r: result.images[r].mean)
        reason = f"the best baseline is {name(rival)}"
    elif rival == WORST:
        rival = max(wanted, key=lambda r: result.comparisons[r]["mann_whitney_p"])
        reason = f"the largest p is against {name(rival)}"
    return entry(result, rival, virtues, weights, reason)


def count_images(tables, tasks, why_not):
    """Return the entries of IMAGES, IMAGES_AT and SHARE: images that have a class.

    `tables`: cohort -> its tissues; a simulated cohort stands for the one that it imitates.
    """
    classes = {}
    for cohort, names in tasks.items():
        for task, definition in names.items():
            try:
                found = task_classes(tables[cohort], definition, f"{cohort}: tasks.{task}")
            except InputError:  # the task itself says so
                continue
            classes.setdefault(cohort.removeprefix("sim_"), {})[task] = found.notna()
    numbers = {}
    for claim, cohort in IMAGES.items():
        any_class = pd.DataFrame(classes.get(cohort, {})).any(axis=1)
        numbers[claim] = number(any_class.sum()) if len(any_class) else not_run(why_not(cohort))
    for claim, task in IMAGES_AT.items():
        found = classes.get(WANG, {}).get(task)
        numbers[claim] = not_run(why_not(WANG, task)) if found is None else number(found.sum())
    numbers[SHARE] = not_run(why_not(CORDS, "subtype"))
    if "subtype" in classes.get(CORDS, {}):
        cohort = next(x for x in tables if x.removeprefix("sim_") == CORDS)
        known = tables[cohort][tasks[cohort]["subtype"]["column"]].notna().sum()
        share = 100 * classes[CORDS]["subtype"].sum() / known
        numbers[SHARE] = number(share, reason=f"of {known} images with a diagnosis")
    return numbers
