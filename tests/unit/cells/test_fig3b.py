"""The class shares that the paper states, and the rows behind the figure."""

import pandas as pd
import pytest

from workflow_scripts.cells.fig3b import macro_numbers, score_rows, share_numbers


def test_shares_are_percentages_of_all_labelled_cells():
    labels = pd.Series(["Vessel"] * 3 + ["T cell"] * 7 + ["Tumour"] * 90)
    numbers = share_numbers({("cords2024", "cell_category"): labels})
    assert numbers["C111"]["value"] == pytest.approx(3.0) and numbers["C111"]["n"] == 100
    assert numbers["C112"]["value"] == pytest.approx(7.0)
    assert numbers["C113"]["status"].startswith("not run: no such class")
    assert numbers["C110"]["status"].startswith("not run: the comparison with KRONOS")


def test_a_simulated_cohort_stands_for_the_one_it_imitates():
    labels = pd.Series(["B Cell"] * 1 + ["Stromal"] * 3)
    numbers = share_numbers({("sim_danenberg2022", "cell_type"): labels})
    assert numbers["C114"]["value"] == pytest.approx(25.0)


def table(patients):
    rows = [(p, t, t if p else "B", 5) for p in range(patients) for t in ("B", "T")]
    columns = ["patient_id", "truth", "predicted", "cells"]
    return pd.DataFrame(rows, columns=columns).assign(converged=True, unlearned=False)


def test_rows_have_every_class_their_mean_and_an_interval_over_patients():
    rows = score_rows(("c", "types"), "m", table(6), 200, 0)
    assert rows["class"].tolist() == ["B", "T", "macro-F1"]
    mean = rows.iloc[-1]
    assert mean["f1"] == pytest.approx(rows["f1"][:2].mean())
    assert mean["low"] < mean["f1"] <= mean["high"] and mean["test_patients"] == 6
    entry = macro_numbers(rows, {"m": "weights"})["macro_f1_c_types_m"]
    assert entry["value"] == pytest.approx(mean["f1"]) and entry["weights"] == "weights"


def test_too_few_patients_leave_no_interval_and_a_stop_is_named():
    rows = score_rows(("c", "types"), "m", table(2).assign(converged=False), 200, 0)
    entry = macro_numbers(rows, {})["macro_f1_c_types_m"]
    assert entry["low"] is None and entry["reason"] == "the probe did not converge"


def test_a_class_without_a_train_cell_is_named_beside_the_mean():
    counts = table(6)
    counts["unlearned"] = counts["truth"] == "T"
    entry = macro_numbers(score_rows(("c", "types"), "m", counts, 200, 0), {})["macro_f1_c_types_m"]
    assert entry["reason"] == "F1 of T is 0, as no train cell has this class"
