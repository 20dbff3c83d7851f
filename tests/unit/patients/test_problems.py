"""What a classification task trains on, and why it cannot."""

import pandas as pd
import pytest

from workflow_scripts.common.errors import InputError
from workflow_scripts.patients.problems import class_sizes, problem_of

GRADE = {"column": "Grade", "classes": {"high": [3], "low": [1, 2]}}


def tissues(grades, splits, patients=None, phase=None):
    """Return tissues t0, t1, ... with these columns."""
    n = len(grades)
    table = pd.DataFrame(
        {
            "tissue_id": [f"t{i}" for i in range(n)],
            "patient_id": patients or [f"p{i}" for i in range(n)],
            "split": splits,
            "Grade": grades,
            "Phase": phase or ["pre"] * n,
        }
    )
    return table.set_index("tissue_id", drop=False)


FOUR = ["train", "train", "test", "test"]


def test_labelled_tissues_are_split_and_classes_keep_the_order_of_the_cohort_file():
    table = tissues([1, 3, 2, 3, None, 9], [*FOUR, "train", "test"])
    problem = problem_of(table, GRADE, "c: tasks.grade")
    assert problem["classes"] == ["high", "low"]
    assert problem["labels"] == {"t0": "low", "t1": "high", "t2": "low", "t3": "high"}
    assert problem["train"] == ["t0", "t1"] and problem["test"] == ["t2", "t3"]
    assert problem["patients"]["t3"] == "p3"


def test_a_class_without_train_tissues_is_not_learned_but_its_test_tissues_stay():
    table = tissues(["a", "b", "a", "z"], FOUR)
    problem = problem_of(table, {"column": "Grade"}, "c")
    assert problem["classes"] == ["a", "b"] and problem["labels"]["t3"] == "z"


@pytest.mark.parametrize(
    ("table", "task", "sentence"),
    [
        (
            tissues([1, 1, 1, 3], FOUR),
            GRADE,
            "g: expected train tissues of two classes or more, but all 2 are 'low'; wait for more",
        ),
        (
            tissues([1, 3, 3, 3], FOUR),
            GRADE,
            "g: expected test tissues of two classes or more, but all 2 are 'high'",
        ),
        (
            tissues([1, 3, None, None], FOUR),
            GRADE,
            "g: expected test tissues of two classes or more, but there are none",
        ),
        (
            tissues([1, 3, 1, 3], FOUR, patients=["p", "p", "q", "r"]),
            GRADE,
            "g: expected train tissues of two patients or more, .* but all are of p; take",
        ),
        (
            tissues([1, 3, 1, 3], FOUR),
            {**GRADE, "where": {"Phase": ["post"]}},
            "g: no tissue has a class",
        ),
        (
            tissues([1, 3, 1, 3], FOUR),
            {"column": "Stage"},
            "g: expected the clinical column 'Stage', but the tissues have none",
        ),
    ],
)
def test_a_task_without_data_is_told(table, task, sentence):
    with pytest.raises(InputError, match=sentence):
        problem_of(table, task, "g")


def test_tissues_without_tokens_are_left_out():
    table = tissues([1, 3, 1, 3, 1], [*FOUR, "train"])
    assert problem_of(table, GRADE, "g", ["t0", "t1", "t2", "t3"])["train"] == ["t0", "t1"]


def test_sizes_of_classes_by_split():
    table = tissues([1, 3, 1, 2, None], [*FOUR, "train"])
    sizes = class_sizes(table, GRADE, "g")
    assert sizes.to_dict("list") == {"class": ["high", "low"], "train": [1, 1], "test": [0, 2]}
