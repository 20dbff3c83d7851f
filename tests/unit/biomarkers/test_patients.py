"""Who is looked at, and the sentences for those who cannot be."""

import pandas as pd
import pytest

from workflow_scripts.biomarkers.patients import choose_tissues
from workflow_scripts.common.errors import InputError

TASK = {"column": "pCR", "classes": {"pCR": ["pCR"], "RD": ["RD"]}, "where": {"Arm": ["none"]}}
TISSUES = pd.DataFrame(
    [
        ("a1", "a", "Baseline", "C&I", True, "pCR"),
        ("a2", "a", "Baseline", "C&I", True, "pCR"),
        ("a3", "a", "Post", "C&I", True, "pCR"),
        ("b1", "b", "Baseline", "C&I", True, "RD"),
        ("c1", "c", "Baseline", "C", True, "RD"),
        ("d1", "d", "Baseline", "C&I", False, "RD"),
        ("e1", "e", "Baseline", "C&I", True, None),
        ("f1", "f", "Post", "C&I", True, "RD"),
    ],
    columns=["tissue_id", "patient_id", "BiopsyPhase", "Arm", "isPerProtocol", "pCR"],
).set_index("tissue_id", drop=False)
PATIENTS = {"Arm": ["C&I"], "isPerProtocol": [True]}


def choose(tissues=TISSUES, task=TASK, before="Baseline", patients=PATIENTS):
    return choose_tissues(tissues, task, "BiopsyPhase", before, patients, "wang: tasks.response")


def test_every_exclusion_is_counted():
    chosen, funnel = choose()
    assert chosen["responds"].to_dict() == {"a1": True, "a2": True, "b1": False}
    assert funnel["condition"].tolist() == [
        "all",
        "BiopsyPhase is Baseline",
        "Arm is C&I",
        "isPerProtocol is True",
        "pCR is known",
    ]
    assert funnel["patients"].tolist() == [6, 5, 4, 3, 2]
    assert funnel["tissues"].tolist() == [8, 6, 5, 4, 3]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"tissues": TISSUES.drop(columns="Arm")},
            "wang: tasks.response: expected the clinical column 'Arm', but the tissues have none; "
            "correct the setting or the cohort's `clinical` tables",
        ),
        (
            {"tissues": TISSUES.drop(columns="pCR")},
            "wang: tasks.response: expected the clinical column 'pCR', but the tissues have none; "
            "correct the task or the cohort's `clinical` tables",
        ),
        (
            {"before": "On-treatment"},
            "wang: tasks.response: no tissue was sampled at BiopsyPhase = 'On-treatment', the "
            "column holds Baseline, Post; correct biomarkers.before",
        ),
        (
            {"tissues": TISSUES[TISSUES["pCR"] != "RD"]},
            "wang: tasks.response: expected patients with and without response before treatment, "
            "but all 1 have one class; widen biomarkers.patients or add samples",
        ),
        (
            {"patients": {"Arm": ["D"]}},
            "wang: tasks.response: expected patients with and without response before treatment, "
            "but none is left; widen biomarkers.patients or add samples",
        ),
        (
            {"tissues": TISSUES.assign(pCR=["pCR", "RD", *TISSUES["pCR"][2:]])},
            "wang: tasks.response: patient a has tissues of both classes of pCR; expected one "
            "outcome per patient; correct the cohort's `clinical` tables",
        ),
    ],
    ids=["no arm", "no outcome", "no time", "one class", "nobody", "discordant"],
)
def test_what_is_wrong_is_one_sentence(changes, sentence):
    with pytest.raises(InputError) as error:
        choose(**changes)
    assert str(error.value) == sentence
