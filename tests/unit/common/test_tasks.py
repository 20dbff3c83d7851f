"""Clinical classes of tissues from the tasks of a cohort file."""

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.tasks import task_classes

TISSUES = pd.DataFrame(
    {
        "Grade": [1.0, 2.0, np.nan, 4.0],
        "Arm": ["C&I", "C", "C&I", "C&I"],
        "pos": [True, False, True, None],
    }  # fmt: skip
)


def test_numbers_and_truth_values_match_however_they_were_read():
    task = {"column": "Grade", "classes": {"low": [1], "high": [2, "4"]}}
    assert task_classes(TISSUES, task, "t").tolist() == ["low", "high", None, "high"]
    task = {"column": "pos", "classes": {"yes": [True], "no": [False]}, "where": {"Arm": ["C&I"]}}
    assert task_classes(TISSUES, task, "t").tolist() == ["yes", None, "yes", None]


def test_a_task_without_classes_takes_the_column_s_own():
    assert task_classes(TISSUES, {"column": "Grade"}, "t").tolist() == ["1", "2", None, "4"]


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ({"column": "Stage"}, "t: expected the clinical column 'Stage', but the tissues have none"),
        (
            {"column": "Grade", "classes": {"high": ["III"]}},
            "t: no tissue has a class; Grade holds 1, 2, 4; correct its classes",
        ),
    ],
)
def test_faults_are_told(task, sentence):
    with pytest.raises(InputError, match=sentence):
        task_classes(TISSUES, task, "t")
