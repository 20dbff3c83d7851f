"""The rule and its figures on simulated patients, and what they say where nothing can be run."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.unit.patients.conftest import SETTINGS, TASK
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.targets import load_targets
from workflow_scripts.common.tokens import TokenStore
from workflow_scripts.patients import fig4b, fig4c, fig4d, figS18
from workflow_scripts.patients import risk_groups as rg
from workflow_scripts.patients.pooling import select, tumour_tissues

TARGETS = {target["id"]: target for target in load_targets()}
FIGURES = {"fig4b": fig4b, "fig4c": fig4c, "fig4d": fig4d, "figS18": figS18}
MODELS = ("all14", "mean_intensity", "mean_counts")
OUTPUTS = ("patients", "structures", "sensitivity", "cells")


def write(folder, study, tissues=None, settings=SETTINGS, task=TASK):
    """Write what the rule reads and return its job; mean intensities are other tokens."""
    (folder / "cohort/metadata").mkdir(parents=True, exist_ok=True)
    tissues = study.tissues if tissues is None else tissues
    tissues.to_parquet(folder / "cohort/metadata/tissues.parquet", index=False)
    study.cells.drop(columns="time").to_parquet(folder / "cells.parquet", index=False)
    rows = study.cells[["tissue_id", "cell_id"]].to_dict("records")
    tokens = study.cohort.tokens
    for model, values in zip(MODELS, (tokens, -tokens, tokens**3), strict=True):
        (folder / model).mkdir(exist_ok=True)
        store = TokenStore(folder / model)
        store.append("cells", values, rows)
        store.close()
    outputs = {name: str(folder / f"{name}.parquet") for name in OUTPUTS}
    outputs["cells"] = str(folder / "map.parquet")
    return SimpleNamespace(
        input=SimpleNamespace(
            embeddings=[str(folder / m) for m in MODELS],
            cells=str(folder / "cells.parquet"),
        ),
        output=SimpleNamespace(facts=str(folder / "facts.json"), **outputs),
        params=SimpleNamespace(
            models=list(MODELS),
            cohort_folder=str(folder / "cohort"),
            task=task,
            where="c: tasks.survival",
            settings=settings,
            seeds=[0, 1],
        ),
    )


def draw(folder, job, name):
    """Run one figure on what the rule wrote, and return its record."""
    metrics = folder / "metrics.json"
    metrics.write_text(json.dumps({"instance": "all14", "weights_sha256": "0" * 64}))
    files = {k: v for k, v in vars(job.output).items()}
    numbers = folder / "figures" / name / "numbers.json"
    FIGURES[name].main(
        SimpleNamespace(
            input=SimpleNamespace(metrics=str(metrics), **files),
            output=SimpleNamespace(numbers=str(numbers)),
            params=SimpleNamespace(
                target=TARGETS[name],
                settings={k: SETTINGS[k] for k in ("high", "covariates", "permutations")},
                contours=SETTINGS["contours"],
                structure_share=0.1,
                unit="years",
                bootstrap=100,
                seed=0,
                simulated=True,
            ),
        )
    )
    return json.loads(numbers.read_text())


class Flat:
    """In place of UMAP, which is another's work and takes long: the first two dimensions."""

    def __init__(self, n_neighbors, random_state, n_jobs):
        assert n_neighbors >= 2

    def fit_transform(self, tokens):
        return tokens[:, :2]


@pytest.fixture(scope="module")
def done(simulated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("risk")
    job = write(folder, simulated(1, patients=150, cells=40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rg, "UMAP", Flat)
        rg.main(job)
    return folder, job


def test_the_rule_writes_a_row_per_patient_and_keeps_the_numbers_of_the_others(done, simulated):
    folder, job = done
    study = simulated(1, patients=150, cells=40)
    patients = pd.read_parquet(job.output.patients)
    positive = study.cohort.patients.query("ERStatus == 'pos'")["patient_id"]
    assert sorted(patients["patient_id"]) == sorted(positive)
    for source in (*MODELS, "phenotypes"):
        assert set(patients[f"rank_{source}"]) == {0, 1, 2, 3}
        assert (
            (patients[f"rank_{source}"] < 2) == (patients[f"risk_{source}"] == "high risk")
        ).all()
    assert {"Grade", "PAM50"} <= set(patients) and (patients["cells"] == 40).all()
    funnel = json.loads((folder / "facts.json").read_text())["funnel"]
    assert funnel["with a tissue"] == 150 and funnel["in a risk group"] == len(positive)
    counts = pd.read_parquet(job.output.structures).set_index("patient_id")
    truth = study.cells.query("niche == 'APC enriched'")["patient_id"].value_counts()
    assert counts["APC enriched"].to_dict() == truth.reindex(counts.index, fill_value=0).to_dict()
    varied = pd.read_parquet(job.output.sensitivity)
    assert varied[["states", "seed"]].values.tolist() == [[40, 0], [40, 1], [10, 0], [10, 1]]
    assert varied.loc[0, "agreement"] == 1
    drawn = pd.read_parquet(job.output.cells)
    assert len(drawn) == 200 and set(drawn["patient_id"]) <= set(patients["patient_id"])


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_fills_its_statements(done, name):
    folder, job = done
    record = draw(folder, job, name)
    assert record["status"] == "done" and (folder / f"figures/{name}/{name}.png").exists()
    assert set(TARGETS[name]["claims"]) <= set(record["numbers"])
    first = (folder / f"figures/{name}/{name}.svg").read_bytes()
    assert draw(folder, job, name) == record
    assert (folder / f"figures/{name}/{name}.svg").read_bytes() == first


def test_survival_is_counted_and_the_careful_figures_stand_beside(done):
    folder, job = done
    numbers = draw(folder, job, "fig4c")["numbers"]
    patients = pd.read_parquet(job.output.patients)
    high = patients["risk_all14"] == "high risk"
    assert numbers["C040"]["value"] == len(patients)
    assert numbers["C041"]["value"] + numbers["C043"]["value"] == len(patients)
    assert numbers["C042"]["value"] == patients.loc[high, "event"].sum()
    assert "permuted" in numbers["C045"]["careful"]["label"]
    assert "before merging" in numbers["C045"]["reason"]
    assert numbers["C117"]["value"] == pytest.approx(patients["time"].max())
    for key in ("merged_p_mean_intensity", "merged_p_phenotypes", "share_of_settings_below_0_05"):
        assert numbers[key]["careful"]
    adjusted = numbers["adjusted_hazard_ratio"]
    assert adjusted["low"] < adjusted["value"] < adjusted["high"]
    assert "Age is not recorded" in adjusted["reason"]
    assert "proportional hazards p = " in adjusted["reason"]
    assert numbers["patients_in_a_risk_group"]["value"] == len(patients)


def test_structures_that_are_not_there_have_no_ratio(done):
    folder, job = done
    numbers = draw(folder, job, "fig4d")["numbers"]
    assert "Suppressed expansion is in 0 of" in numbers["C047"]["status"]
    assert numbers["C046"]["low"] < numbers["C046"]["value"] < numbers["C046"]["high"]
    assert numbers["C046"]["careful"]["label"] == "the same on mean intensity (T11)"
    assert "Benjamini-Hochberg q" in numbers["C048"]["reason"]
    assert numbers["vascular_stroma_phenotypes"]["value"]
    numbers = draw(folder, job, "figS18")["numbers"]
    assert numbers["C118"]["value"] in (0, 1) and numbers["C119"]["careful"]["value"] in (0, 1)


def changed(study, **columns):
    return study.tissues.assign(**columns)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"DeathBreast": 0}, "none of 30 patients has the event"),
        ({"yearsToStatus": 5.0}, "all 30 patients have the same follow-up time"),
        ({"DeathBreast": None}, "0 patients with follow-up, at least 4 are needed"),
        (
            {"ERStatus": ["pos"] * 3 + ["neg"] * 47},
            "3 patients with follow-up, at least 4 are needed",
        ),
    ],
)
def test_a_cohort_that_cannot_be_grouped_says_why_in_every_figure(
    simulated, tmp_path, columns, reason
):
    study = simulated(2, patients=50, cells=20)
    job = write(tmp_path, study, changed(study, **columns))
    rg.main(job)
    for name in FIGURES:
        record = draw(tmp_path, job, name)
        assert record["status"] == f"not run: {reason}" and not record["picture"]
        for claim in TARGETS[name]["claims"]:
            assert record["numbers"][claim]["status"] == f"not run: {reason}"


def test_an_absent_column_disables_the_figures(simulated, tmp_path):
    study = simulated(2, patients=50, cells=20)
    job = write(tmp_path, study, study.tissues.drop(columns="yearsToStatus"))
    rg.main(job)
    status = draw(tmp_path, job, "fig4c")["status"]
    assert status == (
        "not run: expected the clinical column 'yearsToStatus', but the tissues have none"
    )


def test_more_states_than_cells_are_told(simulated, tmp_path):
    study = simulated(2, patients=50, cells=20)
    job = write(tmp_path, study, settings=SETTINGS | {"states": 5000})
    rg.main(job)
    assert draw(tmp_path, job, "fig4b")["status"] == "not run: 600 cells are fewer than 5000 states"


def test_negative_times_stop_the_rule_and_leave_nothing_half_written(simulated, tmp_path):
    study = simulated(2, patients=50, cells=20)
    job = write(tmp_path, study, changed(study, yearsToStatus=-1.0))
    with pytest.raises(InputError, match="c: tasks.survival: tissue P0000_1 has yearsToStatus -1"):
        rg.main(job)
    assert not (tmp_path / "facts.json").exists() and not (tmp_path / "patients.parquet").exists()


def test_missing_discordant_and_tied_follow_up(simulated):
    study = simulated(2, patients=50, cells=20)
    tissues = study.tissues.copy()
    kept = tissues.index[tissues["ERStatus"] == "pos"]
    tissues.loc[kept[0], "yearsToStatus"] = np.nan
    second = tissues.loc[[kept[1]]].assign(tissue_id="second", yearsToStatus=0.5)
    third = tissues.loc[[kept[2]]].assign(tissue_id="third", ERStatus="neg")
    tissues = pd.concat([tissues, second, third]).set_index("tissue_id", drop=False)
    tissues["yearsToStatus"] = np.ceil(tissues["yearsToStatus"])  # ties
    follow, patients, steps, reason = select(study.cells, tissues, TASK, "c", SETTINGS)
    assert reason is None and len(follow) == 27 and set(patients) == set(follow.index)
    assert steps["left out, no yearsToStatus"] == 1
    assert steps["left out, tissues disagree about the follow-up"] == 1
    assert steps["left out, tissues disagree about ERStatus"] == 1
    assert steps["with ERStatus pos"] == 30


def test_tissues_of_a_patient_are_pooled(simulated):
    study = simulated(2, patients=50, cells=20)
    tissues = study.tissues.copy()
    one, two = tissues.index[tissues["ERStatus"] == "pos"][:2]
    same = ["patient_id", "yearsToStatus", "DeathBreast"]
    tissues.loc[two, same] = tissues.loc[one, same].to_numpy()
    follow, patients, _, _ = select(study.cells, tissues, TASK, "c", SETTINGS)
    cells = study.cells["tissue_id"].map(patients).value_counts()
    assert len(follow) == 29 and cells[tissues.loc[one, "patient_id"]] == 40


def test_tissues_without_a_tumour_cell_are_left_out(simulated):
    study = simulated(2, patients=50, cells=20)
    first = study.cells["tissue_id"] == study.tissues.index[0]
    cells = study.cells.assign(is_tumour=np.where(first, 0, np.arange(len(first)) % 2))
    kept = tumour_tissues(study.tissues, cells, "is_tumour")
    assert list(kept.index) == list(study.tissues.index[1:])
    for column in (None, "no_such"):
        assert len(tumour_tissues(study.tissues, cells, column)) == 50
