"""Which cohorts an instance sees, and when it is left out."""

import pytest

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.instances import resolve_instances

COHORTS = ["lung", "breast", "skin"]


def resolve(*instances, cohorts=COHORTS, held_out=()):
    return resolve_instances(list(instances), list(cohorts), {"liver": ""}, held_out, "config")


def test_no_instance_sees_a_cohort_that_is_held_out():
    resolved, _ = resolve(
        {"name": "all", "cohorts": "all"}, {"name": "x", "except": ["lung"]}, held_out=["skin"]
    )
    assert resolved == {"all": ["lung", "breast"], "x": ["breast"]}
    with pytest.raises(InputError, match="instances.x: cohort 'skin' is held out"):
        resolve({"name": "x", "cohorts": ["skin"]}, held_out=["skin"])


def test_an_instance_sees_all_some_or_all_except_some():
    resolved, left_out = resolve(
        {"name": "all", "cohorts": "all"},
        {"name": "one", "cohorts": ["skin"]},
        {"name": "wo_lung", "except": ["lung"]},
    )
    assert resolved == {"all": COHORTS, "one": ["skin"], "wo_lung": ["breast", "skin"]}
    assert left_out == {}


@pytest.mark.parametrize("key", ["cohorts", "except"])
@pytest.mark.parametrize("cohort", ["liver", "damond2019", "sim_hoch2022"])
def test_an_instance_that_names_a_cohort_which_is_not_here_is_left_out(key, cohort):
    # Absent data, and cohorts of the project that this study does not list.
    resolved, left_out = resolve({"name": "all", "cohorts": "all"}, {"name": "x", key: [cohort]})
    assert list(resolved) == ["all"]
    assert left_out == {"x": f"{cohort} is not among the cohorts of this study"}


def test_an_instance_without_a_cohort_to_train_on_is_left_out():
    _, left_out = resolve({"name": "x", "except": ["lung"]}, cohorts=["lung"])
    assert left_out == {"x": "no other cohort is there to train on"}


@pytest.mark.parametrize(
    ("instance", "sentence"),
    [
        ({"name": "x", "cohorts": ["lnug"]}, "instances.x: cohort 'lnug' is not in `cohorts`"),
        ({"name": "x"}, "instances.x: expected either `cohorts` or `except`; keep one"),
        ({"name": "x", "cohorts": "all", "except": ["lung"]}, "expected either `cohorts` or"),
        ({"name": "all", "cohorts": "all"}, "the name 'all' is taken; choose another"),
    ],
)
def test_what_is_wrong_is_named(instance, sentence):
    with pytest.raises(InputError, match=sentence):
        resolve({"name": "all", "cohorts": "all"}, instance)
