"""The baseline of T8: clinical classes from the share of tumour cells alone."""

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.tasks import task_classes
from workflow_scripts.patients.problems import problem_of
from workflow_scripts.patients.tissue_scores import score


def tumour_fraction(folder, label, where):
    """Return the share of a tissue's labelled cells that are tumour, a Series by tissue.

    `label`: {column, values} of the cohort's cells; `where` names it in an error.
    """
    try:
        cells = pd.read_parquet(
            f"{folder}/metadata/cells.parquet", columns=["tissue_id", label["column"]]
        )
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{where}: the cells have no column {label['column']!r} ({error}); correct it"
        ) from None
    cells = cells.dropna()
    classes = {"column": label["column"], "classes": {"tumour": label["values"]}}
    tumour = task_classes(cells, classes, where).notna()
    return tumour.groupby(cells["tissue_id"]).mean()


def score_fraction(result, tissues, task, label, folder, repeats, seed):
    """Return the Score of the tumour fraction on a task, or why there is none (T8)."""
    where = f"tissue_tasks.tumour.{result.cohort}"
    if label is None:
        return f"{where} does not say which cells are tumour"
    try:
        fraction = tumour_fraction(folder, label, where)
        problem = problem_of(tissues, task, f"{result.cohort}: tasks.{result.task}")
    except InputError as error:
        return str(error)
    return score(predicted_by_fraction(fraction, problem), repeats, seed)


def predicted_by_fraction(fraction, problem):
    """Return predictions, as those of a model, of a logistic regression on one number per tissue.

    The baseline of T8: `fraction`, a Series by tissue, is the share of tumour cells; a tissue
    without cells has the train split's mean. `problem`: what `problem_of` returns.
    """
    values = fraction.reindex([*problem["train"], *problem["test"]])
    values = values.fillna(values[problem["train"]].mean()).to_frame()
    labels = pd.Series(problem["labels"])
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(values.loc[problem["train"]].to_numpy(), labels[problem["train"]])
    test = problem["test"]
    return pd.DataFrame(
        {
            "seed": 0,
            "tissue_id": test,
            "patient_id": [problem["patients"][tissue] for tissue in test],
            "truth": labels[test].to_numpy(),
            "predicted": model.predict(values.loc[test].to_numpy()),
        }
    )
