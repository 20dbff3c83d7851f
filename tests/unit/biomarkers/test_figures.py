"""From a cohort on disk to pictures and numbers, and what is said where nothing can be found."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from demo.simulator.cohort import read_effects
from demo.simulator.tokens import simulate_tokens
from workflow_scripts.biomarkers import composition, fig5d, fig5e, fig5g, find_signatures
from workflow_scripts.biomarkers.baselines import log_ratio, read_published
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.numbers import read_numbers
from workflow_scripts.common.targets import load_targets
from workflow_scripts.common.tokens import TokenStore

TARGETS = {target["id"]: target for target in load_targets()}
SETTINGS = {
    "neighbours": 10,
    "resolutions": [1.0, 2.0, 1.0],
    "iterations": 2,
    "largest_cluster": 2000,
    "overlap": 0.5,
    "folds": 4,
    "repeats": 2,
    "joint_repeats": 2,
    "permutations": 3,
    "bootstrap": 20,
    "published": None,
}
# The simulated labels, as the cohort's file maps them.
KINDS = {"panCK^{med}": "tumor", "Apoptosis": "apoptotic cell", "CD4^+PD1^+T": "CD4 T cell"}
KINDS |= {"CD8^+T": "CD8 T cell", "CD20^+B": "B / plasma cell", "Fibroblasts": "fibroblasts"}


class Cohort:
    """A cohort of 60 patients on disk and the jobs that read it."""

    def __init__(self, folder):
        self.folder = folder
        cohort = simulate_tokens(read_effects(), "wang2023", patients=60, cells=25, seed=0)
        metadata = folder / "cohorts/c/metadata"
        metadata.mkdir(parents=True)
        cells = cohort.cells
        tissues = cells.drop_duplicates("tissue_id").merge(cohort.patients, on="patient_id")
        tissues = tissues.rename(columns={"time": "BiopsyPhase"}).assign(split="train")
        columns = ["tissue_id", "patient_id", "split", "BiopsyPhase", "Arm", "isPerProtocol", "pCR"]
        self.tissues = tissues[columns]
        kinds = cells["cell_type"].map(KINDS).fillna("macrophage")
        table = cells.assign(cell_type=kinds)[["tissue_id", "cell_id", "x", "y", "cell_type"]]
        table.iloc[1:].to_parquet(metadata / "cells.parquet")  # one cell is in no table
        store = TokenStore(folder / "embeddings")
        store.folder.mkdir()
        store.append("cells", cohort.tokens, cells[["tissue_id", "cell_id"]].to_dict("records"))
        store.close()
        (folder / "metrics.json").write_text('{"instance": "all14", "weights_sha256": "0"}')

    def find(self, tissues=None, **changes):
        """Run rule find_signatures and return its record."""
        tissues = self.tissues if tissues is None else tissues
        tissues.to_parquet(self.folder / "cohorts/c/metadata/tissues.parquet")
        params = {
            "cohort_folder": self.folder / "cohorts/c",
            "task": {"column": "pCR", "classes": {"pCR": ["pCR"], "RD": ["RD"]}},
            "where": "c: tasks.response",
            "visit": "BiopsyPhase",
            "before": "Baseline",
            "patients": {"Arm": ["C", "C&I"]},
            "label": "cell_type",
            "settings": SETTINGS,
            "seed": 0,
        }
        files = {"embeddings": self.folder / "embeddings"}
        files["cells"] = self.folder / "cohorts/c/metadata/cells.parquet"
        output = {
            "signatures": "signatures.parquet",
            "facts": "signatures.json",
            "cells": "cells.parquet",
            "clusters": "clusters.npz",
            "funnel": "patients.csv",
        }
        self.found = {name: self.folder / file for name, file in output.items()}
        find_signatures.main(
            SimpleNamespace(
                input=SimpleNamespace(**files),
                output=SimpleNamespace(**self.found),
                params=SimpleNamespace(**params | changes),
                threads=1,
            )
        )
        return json.loads(self.found["facts"].read_text())

    def draw(self, script, target, **params):
        """Run the rule of a figure and return its numbers."""
        files = self.found | {"metrics": self.folder / "metrics.json"}
        files |= {"embeddings": self.folder / "embeddings", "graph": []}
        path = self.folder / "figures" / target / "numbers.json"
        common = {"target": TARGETS[target], "seed": 0, "simulated": True, "bootstrap": 20}
        script.main(
            SimpleNamespace(
                input=SimpleNamespace(**files),
                output=SimpleNamespace(numbers=path),
                params=SimpleNamespace(**common | params),
            )
        )
        return read_numbers(path)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return Cohort(tmp_path_factory.mktemp("cohort"))


class Masks:
    """Stands in for the cohort's masks: a cell is the square at its centroid."""

    def __init__(self, folder):
        cells = pd.read_parquet(folder / "metadata/cells.parquet")
        self.cells = cells.groupby("tissue_id")

    def tissues(self):
        for tissue, cells in self.cells:
            yield SimpleNamespace(id=tissue, cell_mask=lambda cells=cells: self.mask(cells))

    def mask(self, cells):
        mask = np.zeros((70, 70), int)
        for cell in cells.itertuples():
            mask[int(cell.y) : int(cell.y) + 4, int(cell.x) : int(cell.x) + 4] = cell.cell_id
        return mask


def test_all_targets_are_drawn(cohort, monkeypatch):
    record = cohort.find()
    assert record["status"] == "done" and set(record["signatures"]) == {
        "RS1",
        "RS2",
        "NRS1",
        "NRS2",
    }
    rows = pd.read_parquet(cohort.found["signatures"])
    assert list(rows.columns) == ["tissue_id", "cell_id", "signature"]
    assert rows["signature"].value_counts().to_dict() == {
        name: one["cells"] for name, one in record["signatures"].items()
    }
    funnel = pd.read_csv(cohort.found["funnel"])
    assert funnel["patients"].tolist() == [60] * 5
    assert funnel["tissues"].tolist() == [180, 60, 60, 60, 60]

    monkeypatch.setattr(fig5d, "map_cells", lambda tokens, seed: tokens[:, :2])
    numbers = cohort.draw(fig5d, "fig5d", cells=300)
    assert numbers["picture"] and numbers["numbers"]["cells_RS1"]["value"] > 0

    ratios = {"cd4": ["CD4 T cell"], "cd8": ["CD8 T cell"], "b": ["B / plasma cell"]}
    settings = {"settings": SETTINGS, "tumour": ["tumor"], "ratios": ratios}
    numbers = cohort.draw(fig5e, "fig5e", **settings)["numbers"]
    assert set(TARGETS["fig5e"]["claims"]) <= set(numbers)
    assert numbers["C072"]["value"] == 60
    joint = numbers["C077"]
    assert joint["careful"]["value"] == numbers["nested_joint"]["value"] < joint["value"]
    assert joint["low"] <= joint["value"] <= joint["high"]
    best = max(numbers[f"auroc_{name}"]["value"] for name in ratios)
    assert numbers["C098"]["value"] == pytest.approx(100 * (joint["value"] / best - 1))
    assert numbers["C098"]["value"] <= numbers["C099"]["value"]
    assert "supplied" in numbers["C079"]["status"]
    assert numbers["chance_best_cluster"]["value"] > 0.5

    for target, kind in (("fig5f", "shares"), ("figS22", "changes")):
        numbers = cohort.draw(composition, target, kind=kind, tumour=["tumor"])
        assert numbers["picture"] and set(TARGETS[target]["claims"]) <= set(numbers["numbers"])

    monkeypatch.setattr(fig5g, "CohortFiles", Masks)
    shown = [{"signature": "RS1", "cell_type": "apoptotic cell"}]
    shown += [{"signature": "RS2", "cell_type": "CD4 T cell"}]
    around = {"graph": None, "radius": 20, "frequent": 5, "window": 40, "shown": shown}
    folder = {"cohort_folder": cohort.folder / "cohorts/c"}
    numbers = cohort.draw(fig5g, "fig5g", settings=around, **folder)
    assert numbers["picture"] and set(TARGETS["fig5g"]["claims"]) <= set(numbers["numbers"])


def test_the_published_predictor_joins_when_it_is_supplied(cohort):
    cohort.find()
    clusters = np.load(cohort.found["clusters"])
    path = cohort.folder / "published.csv"
    score = clusters["responds"] + np.random.default_rng(0).normal(size=60)
    pd.DataFrame({"patient_id": clusters["patients"], "score": score}).to_csv(path, index=False)
    settings = {"settings": SETTINGS | {"published": str(path)}, "tumour": ["tumor"], "ratios": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fig5e, "permuted", lambda *_: np.empty((0, 2)))
        settings["ratios"] = {"b": ["B / plasma cell"]}
        numbers = cohort.draw(fig5e, "fig5e", **settings)["numbers"]
    gain = 100 * (numbers["C077"]["value"] / numbers["auroc_published"]["value"] - 1)
    assert numbers["C078"]["value"] == pytest.approx(gain)
    assert 0 <= numbers["C079"]["value"] <= 1
    assert "corrected" in numbers["C079"]["careful"]["label"]


def test_a_table_that_lacks_a_patient_or_column(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text("patient_id,score\na,0.5\n")
    assert read_published(path, ["a"]).tolist() == [0.5]
    with pytest.raises(InputError) as error:
        read_published(path, ["a", "b", "c"])
    assert str(error.value) == (
        f"{path}: 2 of 3 patients have no score, the first is b; add their rows"
    )
    path.write_text("patient,value\na,0.5\n")
    with pytest.raises(InputError) as error:
        read_published(path, ["a"])
    assert str(error.value) == (
        f"{path}: expected the columns patient_id and score, found patient, value; rename them"
    )


def test_ratios_count_each_patients_cells():
    cells = pd.DataFrame({"patient_id": list("aaab"), "label": ["t", "h", "cd4", "cd4"]})
    found = log_ratio(cells, np.array(["a", "b", "c"]), ["t", "h"], ["cd4"])
    assert found == pytest.approx(np.log([3 / 2, 1 / 2, 1]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"before": "Never"}, "no tissue was sampled at BiopsyPhase = 'Never'"),
        ({"patients": {"Site": ["a"]}}, "expected the clinical column 'Site'"),
        ({"label": "lineage"}, "the cells have no label 'lineage'"),
        ({"settings": SETTINGS | {"folds": 40}}, "cannot be in each of 40 folds"),
        ({"settings": SETTINGS | {"largest_cluster": 2}}, "among 0 small ones"),
    ],
)
def test_what_cannot_be_found_is_not_run(cohort, changes, words):
    record = cohort.find(**changes)
    assert record["status"].startswith("not run: ") and words in record["status"]
    assert record["signatures"] == {}
    assert pd.read_parquet(cohort.found["signatures"]).empty
    numbers = cohort.draw(composition, "fig5f", kind="shares", tumour=["tumor"])
    assert not numbers["picture"] and words in numbers["status"]
    assert words in numbers["numbers"]["C080"]["status"]
    assert "picture" in cohort.draw(fig5d, "fig5d", cells=9)


def test_patients_of_one_class_are_not_run(cohort):
    record = cohort.find(cohort.tissues[cohort.tissues["pCR"] == "RD"])
    assert "have one class" in record["status"]
