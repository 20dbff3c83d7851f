"""What the signatures are compared with: immune ratios and the published predictor (D16)."""

import numpy as np
import pandas as pd

from workflow_scripts.common.errors import InputError


def log_ratio(cells, patients, tumour, others):
    """Return log((tumour + 1) / (others + 1)) of each patient's cells, [patients].

    `cells`: columns patient_id and label; `tumour`, `others`: classes of the label.
    """
    counts = [
        cells.loc[cells["label"].isin(classes), "patient_id"].value_counts()
        for classes in (tumour, others)
    ]
    first, second = (count.reindex(patients, fill_value=0).to_numpy() for count in counts)
    return np.log((first + 1) / (second + 1))


def read_published(path, patients):
    """Return the published predictor's score of each patient, [patients].

    InputError for a table without patient_id and score, or that lacks a patient.
    """
    table = pd.read_csv(path, dtype={"patient_id": str})
    if not {"patient_id", "score"} <= set(table.columns):
        raise InputError(
            f"{path}: expected the columns patient_id and score, found {', '.join(table.columns)}; "
            "rename them"
        )
    scores = table.drop_duplicates("patient_id").set_index("patient_id")["score"].reindex(patients)
    if scores.isna().any():
        lacking = scores.index[scores.isna()]
        raise InputError(
            f"{path}: {len(lacking)} of {len(patients)} patients have no score, the first is "
            f"{lacking[0]}; add their rows"
        )
    return scores.to_numpy(float)
