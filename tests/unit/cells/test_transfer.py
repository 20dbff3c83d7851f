"""Label transfer on planted types with shared markers, and what stops it."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.cells.fig3f import median_tissues
from workflow_scripts.cells.transfer_labels import attempt
from workflow_scripts.common.cell_pictures import cell_picture
from workflow_scripts.common.cell_types import balanced, fit_forest
from workflow_scripts.common.shared_markers import shared_accessions
from workflow_scripts.common.tokens import TokenStore

KINDS = np.array(["B", "T", "Tumour"])
SETTINGS = {"label": "kind", "target_label": "name", "classes": {"tumour": "Tumour"}}
SETTINGS |= {"trees": 20, "depth": 16, "fewest_markers": 2}


def write_cohort(place, cohort, panel, label, names, seed, cells=300):
    """Write cells whose type is seen in the marker of its number, and their mean counts."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(3, cells, p=[0.1, 0.3, 0.6])
    tokens = rng.normal(size=(cells, len(panel))).astype(np.float32)
    for column, marker in enumerate(panel):
        tokens[:, column] += 4 * (kinds == int(marker[1:]))
    metadata = place / "cohorts" / cohort / "metadata"
    metadata.mkdir(parents=True)
    rows = [{"tissue_id": f"t{i % 6}", "cell_id": i + 1} for i in range(cells)]
    pd.DataFrame(rows).assign(**{label: np.array(names)[kinds]}).to_parquet(
        metadata / "cells.parquet"
    )
    splits = ["train"] * 4 + ["test"] * 2
    tissues = {"tissue_id": [f"t{i}" for i in range(6)], "split": splits}
    pd.DataFrame(tissues | {"patient_id": [f"p{i}" for i in range(6)]}).to_parquet(
        metadata / "tissues.parquet"
    )
    folder = place / "tokens" / cohort
    folder.mkdir(parents=True)
    store = TokenStore(folder)
    store.append("cells", tokens, rows)
    store.close()
    (folder / "accessions.json").write_text(json.dumps(panel))


@pytest.fixture
def params(tmp_path):
    """Return a function that writes two cohorts with panels of their own, and the job's params."""

    def write(first=("P0", "P1", "P2"), second=("P9", "P2", "P0", "P1"), names=None):
        write_cohort(tmp_path, "source", list(first), "kind", KINDS, 0)
        write_cohort(tmp_path, "target", list(second), "name", names or ["B", "T", "tumour"], 1)
        folders = [str(tmp_path / "cohorts" / name) for name in ("source", "target")]
        return SimpleNamespace(
            settings=SETTINGS, tokens=str(tmp_path / "tokens"), cohort_folders=folders, seed=0
        )

    return write


def test_planted_types_are_carried_over_by_the_markers_that_both_have(params):
    cells, facts = attempt(params(), 1)
    assert facts["markers"] == ["P0", "P1", "P2"] and facts["status"] == "done"
    assert len(cells) == 300 and (cells["truth"] == cells["predicted"]).mean() > 0.85
    assert set(cells["truth"]) == set(KINDS)  # "tumour" of the target is Tumour of the source


def test_a_type_whose_marker_is_not_shared_is_lost(params):
    cells, facts = attempt(params(second=("P0", "P2", "P9")), 1)
    assert facts["markers"] == ["P0", "P2"]
    right = (cells["truth"] == cells["predicted"]).groupby(cells["truth"]).mean()
    assert right["Tumour"] > 0.8


@pytest.mark.parametrize(
    ("panel", "said"),
    [(("P9", "P8"), "0 shared markers"), (("P9", "P2"), "1 shared markers")],
)
def test_too_few_shared_markers_are_reported(params, panel, said):
    cells, facts = attempt(params(second=panel), 1)
    assert cells.empty and facts == {"status": f"not run: {said}, fewer than 2"}


def test_a_target_without_the_labels_is_reported(params):
    cells, facts = attempt(params(names=["x", "y", "z"]), 1)
    assert cells.empty and facts["status"].endswith(
        "no cell of the target has a label that the source has"
    )


def test_a_class_that_the_source_lacks_is_named(params):
    _, facts = attempt(params(names=["B", "mast", "tumour"]), 1)
    assert facts["unlearned"] == ["mast"] and facts["unscored"] == ["T"]


def test_classes_are_balanced_by_downsampling():
    cells = pd.DataFrame({"truth": ["a"] * 50 + ["b"] * 5, "position": np.arange(55)[::-1]})
    drawn = balanced(cells, 0)
    assert drawn["truth"].value_counts().to_dict() == {"a": 5, "b": 5}
    assert drawn["position"].is_monotonic_increasing
    assert balanced(cells, 0).equals(drawn) and not balanced(cells, 1).equals(drawn)


def test_the_forest_is_as_the_methods_say():
    forest = fit_forest(np.eye(3), KINDS, 100, 16, 0)
    stated = forest.n_estimators, forest.criterion, forest.bootstrap, forest.max_depth
    assert stated == (100, "gini", True, 16)


def test_shared_markers_come_once_in_the_order_of_the_source():
    assert shared_accessions(["P2", "P1", "P2", "P3"], ["P1", "P4", "P2"]) == ["P2", "P1"]


def test_shown_tissues_are_those_of_median_score_with_several_types():
    rows = [
        {"tissue_id": f"t{tissue}", "truth": kind, "predicted": kind if i < tissue else "no"}
        for tissue in range(5)
        for i, kind in enumerate("abcd")
    ]
    plain = [{"tissue_id": "plain", "truth": "a", "predicted": "a"}] * 2
    assert median_tissues(pd.DataFrame(rows + plain)) == ["t1", "t2"]


def test_cells_have_the_colour_of_their_type_and_a_border():
    mask = np.zeros((6, 6), int)
    mask[1:5, 1:5] = 2
    mask[0, 5] = 3
    picture = cell_picture(mask, pd.Series(["T"], index=[2]), {"T": (1.0, 0.0, 0.0)})
    assert picture[3, 3].tolist() == [1, 0, 0] and picture[0, 0].tolist() == [1, 1, 1]
    assert picture[1, 3].max() < 0.2
