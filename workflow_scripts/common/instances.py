"""The instances of a study: which cohorts each trained model has seen (Methods, "Pretraining")."""

from pathlib import Path

from workflow_scripts.common.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
COHORT_FILES = (ROOT / "cohorts", ROOT / "demo/cohorts")


def resolve_instances(settings, cohorts, absent, held_out, where):
    """Return ({name: cohorts it trains on}, {name: why it is left out}).

    `settings`: the list of instances, each with `cohorts` (a list, or all) or `except`. `cohorts`
    can be read, `absent` are not supplied; nothing trains on those that are `held_out`. An
    instance whose name would no longer be true is left out: it lacks a cohort that it names, or
    there is nothing left to train on. InputError for a name given twice, a cohort that is held
    out, or one that does not exist.
    """
    resolved, left_out = {}, {}
    for instance in settings:
        name, key = instance["name"], f"{where}: instances.{instance['name']}"
        if name in resolved or name in left_out:
            raise InputError(f"{where}: instances: the name {name!r} is taken; choose another")
        if ("cohorts" in instance) == ("except" in instance):
            raise InputError(f"{key}: expected either `cohorts` or `except`; keep one")
        named = instance.get("except", instance.get("cohorts"))
        named = [] if named == "all" else named
        for cohort in named:
            if cohort in held_out:
                raise InputError(
                    f"{key}: cohort {cohort!r} is held out, no model trains on it; remove it"
                )
            if cohort not in cohorts and cohort not in absent and not is_known(cohort):
                raise InputError(
                    f"{key}: cohort {cohort!r} is not in `cohorts`; expected some of "
                    f"{', '.join(cohorts)}"
                )
        missing = [cohort for cohort in named if cohort not in cohorts]
        if "except" in instance or not named:
            seen = [cohort for cohort in cohorts if cohort not in (*named, *held_out)]
        else:
            seen = [cohort for cohort in named if cohort in cohorts]
        if missing:
            left_out[name] = f"{', '.join(missing)} is not among the cohorts of this study"
        elif not seen:
            left_out[name] = "no other cohort is there to train on"
        else:
            resolved[name] = seen
    return resolved, left_out


def is_known(cohort):
    """Whether there is a cohort file of this id, although the study does not list it."""
    return any((folder / f"{cohort}.yaml").exists() for folder in COHORT_FILES)
