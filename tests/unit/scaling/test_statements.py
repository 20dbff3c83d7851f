"""Statements on planted counts of test cells, and what is missing."""

import pandas as pd
import pytest

from workflow_scripts.scaling.fig1e import entries, scores
from workflow_scripts.scaling.statements import judged, statements

LABELS = ["coarse", "fine"]
PANELS = [
    {"markers": markers, "virtues": f"only_{markers}", "camae": "camae" if markers == 40 else None}
    for markers in (10, 20, 40)
]


def counts_of(right, patients=8):
    """Return counts of test cells of two types, of which a share is taken for what it is."""
    hits = round(100 * right)
    rows = [
        (f"p{patient}", truth, predicted, hits + patient % 2 if truth == predicted else 100 - hits)
        for patient in range(patients)
        for truth in "ab"
        for predicted in "ab"
    ]
    return pd.DataFrame(rows, columns=["patient_id", "truth", "predicted", "cells"])


def costs(virtues, camae):
    rows = []
    for model, cost in (("virtues", virtues), ("camae", camae)):
        rows += [
            ("cost", model, 40, cost),
            ("parameters", model, 40, 100 if model == "virtues" else 2500),
            ("encoder_parameters", model, 40, 50),
        ]
    return pd.DataFrame(rows, columns=["metric", "model", "markers", "value"])


def planted(f1, camae=0.6):
    """Return counts of each instance with the given shares of right cells."""
    models = {f"only_{m}": right for m, right in zip((10, 20, 40), f1, strict=True)}
    models |= {"camae": camae}
    return {(model, label): counts_of(right) for model, right in models.items() for label in LABELS}


@pytest.mark.parametrize(
    ("f1", "holds"),
    [
        ((0.6, 0.8, 0.85), 1),  # rises, most at first
        ((0.6, 0.65, 0.9), 0),  # rises, most at last
        ((0.6, 0.8, 0.75), 0),  # falls
        ((0.7, 0.7, 0.7), 0),
    ],
)
def test_more_markers_help_and_most_the_first(f1, holds):
    numbers = statements(costs(1, 9), planted(f1), PANELS, LABELS, 100, 0)
    assert numbers["C011"]["value"] == holds and numbers["C011"]["n"] == 8
    lowest = min(e["low"] for key, e in numbers.items() if key.startswith("gain_"))
    assert numbers["C011"]["careful"]["value"] == lowest
    assert numbers["gain_fine_10_to_20"]["value"] == pytest.approx(f1[1] - f1[0], abs=0.01)


@pytest.mark.parametrize(
    ("cost", "camae", "holds"), [(1, 0.6, 1), (10, 0.6, 0), (1, 0.95, 0), (10, 0.95, 0)]
)
def test_cheaper_and_better_means_both(cost, camae, holds):
    f1 = planted((0.6, 0.8, 0.85), camae)
    numbers = statements(costs(cost, 9), f1, PANELS, LABELS, 100, 0)
    assert numbers["C012"]["value"] == holds
    assert numbers["C010"]["value"] == 25 and numbers["C010"]["careful"]["value"] == 1


def test_what_was_not_probed_is_said():
    counts = planted((0.6, 0.8, 0.85))
    without = {key: table for key, table in counts.items() if key[0] != "only_20"}
    numbers = statements(costs(1, 9), without, PANELS, LABELS, 50, 0)
    words = "not run: only_20 has no probe of coarse with these markers"
    assert numbers["C011"]["status"] == words and numbers["C012"]["value"] == 1
    panels = [PANELS[0], PANELS[2] | {"camae": None}]
    numbers = statements(costs(1, 9), counts, panels, LABELS, 50, 0)
    assert numbers["C011"]["status"] == "not run: needs three panels, this study has 2"
    words = "not run: CA-MAE has no probe of coarse with these markers"
    assert numbers["C012"]["status"] == words
    numbers = statements(costs(1, 9), {}, PANELS, LABELS, 50, 0)
    assert numbers["C010"]["value"] == 25 and numbers["C011"]["value"] is None
    few = {key: counts_of(0.7, patients=2) for key in counts}
    numbers = statements(costs(1, 9), few, PANELS, LABELS, 50, 0)
    assert numbers["C012"]["careful"] is None  # two patients leave no interval


def test_scores_are_those_of_the_probes():
    rows = scores(planted((0.6, 0.8, 0.9)), PANELS, LABELS, 50, 0)
    ours = rows[(rows["model"] == "virtues") & (rows["metric"] == "macro_f1_fine")]
    assert ours["value"].tolist() == pytest.approx([0.6, 0.8, 0.9], abs=0.01)
    assert rows[rows["model"] == "camae"]["markers"].tolist() == [40, 40]
    table = pd.concat([rows, costs(1, 9).assign(low=1.0, high=2.0)])
    numbers = entries(table, PANELS, {"only_10": "ten"}, "measured")
    assert numbers["macro_f1_fine_virtues_10"]["weights"] == "ten"
    assert numbers["cost_camae_40"]["reason"] == "measured"
    assert numbers["parameters_camae_40"]["reason"] is None


def test_a_statement_without_an_interval_has_nothing_careful():
    gains = [{"value": 1, "low": None, "n": 2, "status": "done"}]
    assert judged(gains, True, 0)["careful"] is None


def test_a_rival_that_reads_fewer_markers_than_it_saw_is_told():
    columns = ["metric", "model", "markers", "value", "low", "high"]
    rows = [
        ("macro_f1_fine", model, n, 0.5, 0.4, 0.6)
        for model in ("virtues", "camae")
        for n in (10, 40)
    ]
    made = entries(pd.DataFrame(rows, columns=columns), PANELS, {}, "measured", restricted=True)
    told = {key for key, entry in made.items() if entry["reason"]}
    assert told == {"macro_f1_fine_camae_10"}
    assert "reads these alone" in made["macro_f1_fine_camae_10"]["reason"]
