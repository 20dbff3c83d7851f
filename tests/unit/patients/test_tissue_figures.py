"""From tokens on disk to the numbers of Fig. 4f: planted patients, statements, what is missing."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from demo.simulator.cohort import read_effects
from demo.simulator.tokens import simulate_tokens
from workflow_scripts.common.numbers import read_numbers
from workflow_scripts.common.targets import load_targets
from workflow_scripts.common.tasks import tissues_of
from workflow_scripts.common.tokens import TokenStore
from workflow_scripts.patients import classify_tissues, fig4f, figS19, tissue_claims

TARGETS = {target["id"]: target for target in load_targets()}
COHORT = "sim_danenberg2022"
TASKS = {
    "er": {"column": "ERStatus", "classes": {"positive": ["pos"], "negative": ["neg"]}},
    "erbb2": {"column": "ERBB2_pos"},  # one class only, below
    "pam50": {"column": "Subtype"},  # a column that the tissues lack
    "grade": {"column": "Grade", "where": {"ERStatus": ["neither"]}},  # no tissue
}
SETTINGS = {
    "heads": 2,
    "hidden": 16,
    "learning_rate": 5e-3,
    "batch": 16,
    "epochs": 8,
    "patience": 8,
    "validation": 0.2,
    "memory_mb": 1,
}
RIVALS = ("camae", "kronos", "mean_intensity", "resnet50")
BESIDE = {"mean_intensity": ["mean_counts"]}  # classified in the same job (D9)


def write_cohort(root):
    """Write 60 patients with two images each; every third is in the test split."""
    cohort = simulate_tokens(read_effects(), "danenberg2022", 60, 48, seed=0)
    cells, metadata = cohort.cells, root / "cohorts" / COHORT / "metadata"
    metadata.mkdir(parents=True)
    cells["tissue_id"] = cells["tissue_id"] + np.where(cells["cell_id"] % 2, "a", "b")
    tissues = cells[["tissue_id", "patient_id"]].drop_duplicates()
    tissues = tissues.merge(cohort.patients.assign(ERBB2_pos="FALSE"), on="patient_id")
    number = tissues["patient_id"].str[1:].astype(int)
    tissues["split"] = np.where(number % 3, "train", "test")
    tissues.to_parquet(metadata / "tissues.parquet", index=False)
    cells.to_parquet(metadata / "cells.parquet", index=False)
    return cohort


def write_tokens(root, model, cohort, level):
    """Write the cells' tokens as patches of one niche, or as niches, of their tissue."""
    folder = root / "embeddings" / model / COHORT
    folder.mkdir(parents=True)
    store = TokenStore(folder)
    tokens = cohort.tokens
    if model != "all14":  # rivals see noise
        tokens = np.random.default_rng(len(model)).standard_normal(tokens.shape, np.float32)
    for tissue, rows in cohort.cells.groupby("tissue_id", sort=False).indices.items():
        own = tokens[rows]
        if level == "patch":
            own = own.reshape(-1, 2, 2, own.shape[1])
        names = [{"tissue_id": tissue, "row": 0, "col": i} for i in range(len(own))]
        store.append(level, own, names)
    store.close()


def classified(root, model):
    folder = root / "tasks" / model
    folder.mkdir(parents=True)
    names = {"predictions": "predictions.parquet", "attention": "attention.npz"}
    output = SimpleNamespace(
        **{key: str(folder / name) for key, name in names.items()},
        facts=str(folder / "facts.json"),
    )
    params = SimpleNamespace(
        tasks={COHORT: TASKS},
        settings=SETTINGS | ({} if model == "all14" else {"epochs": 2}),
        seeds=[0, 1],
        device="cpu",
        models=[model, *BESIDE.get(model, [])],
        embeddings=str(root / "embeddings"),
        cohorts=str(root / "cohorts"),
    )
    classify_tissues.main(SimpleNamespace(params=params, output=output))
    return output


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return the folder of a study in which VirTues sees composition and its rivals see noise."""
    root = tmp_path_factory.mktemp("study")
    cohort = write_cohort(root)
    outputs = {}
    for model in ("all14", *RIVALS):
        for each in (model, *BESIDE.get(model, [])):
            write_tokens(root, each, cohort, "niche" if model == "resnet50" else "patch")
        outputs[model] = classified(root, model)
    return root, outputs


def drawn(study, target, script, **changes):
    """Run a figure's script; return its folder and its checked record."""
    root, outputs = study
    folder = root / "figures" / target
    params = {
        "target": TARGETS[target],
        "tasks": {COHORT: TASKS},
        "tumour": {COHORT: {"column": "category", "values": ["epithelial"]}},
        "models": [each for model in outputs for each in (model, *BESIDE.get(model, []))],
        "model": "all14",
        "absent": {"cords2024": "data not supplied", "wang2023": "data not supplied"},
        "cohorts": str(root / "cohorts"),
        "bootstrap": 200,
        "seed": 0,
        "simulated": True,
    } | changes
    files = {key: [getattr(o, key) for o in outputs.values()] for key in ("predictions", "facts")}
    script.main(
        SimpleNamespace(
            params=SimpleNamespace(**params),
            input=SimpleNamespace(**files, metrics=[]),
            output=SimpleNamespace(numbers=str(folder / "numbers.json")),
        )
    )
    return folder, read_numbers(folder / "numbers.json")


def test_the_model_that_sees_composition_wins_and_its_statements_say_so(study):
    folder, record = drawn(study, "fig4f", fig4f)
    numbers = record["numbers"]
    assert set(numbers) >= set(TARGETS["fig4f"]["claims"])
    assert (folder / "fig4f.png").exists() and (folder / "fig4f.svg").exists()
    assert numbers["C052"]["value"] > 0.85 and numbers["C052"]["n"] == 20
    assert numbers["C052"]["low"] > 0.7 and numbers["C052"]["seeds"] == [0, 1]
    assert numbers["C052"]["careful"]["label"].startswith("by patient")
    for rival in RIVALS:
        assert numbers[f"macro_f1_{COHORT}_er_{rival}"]["value"] < 0.75
    assert numbers["C123"]["value"] == numbers[f"gain_{COHORT}_er_kronos"]["value"] > 10
    # T7: five comparisons on one task, Holm's first factor is 5.
    assert numbers["C137"]["careful"]["value"] == pytest.approx(5 / 201)
    # T8: tumour cells are as frequent with either status, in expectation.
    assert numbers[f"macro_f1_{COHORT}_er_tumour_fraction"]["value"] < 0.8
    assert numbers["C015"]["value"] == 120


def test_raw_counts_stand_beside_mean_intensities(study):
    root, outputs = study
    table = pd.read_parquet(outputs["mean_intensity"].predictions)
    means, counts = (table[table["model"] == m] for m in ("mean_intensity", "mean_counts"))
    assert len(means) == len(counts) and not np.allclose(
        means["probability"], counts["probability"]
    )
    facts = json.loads(open(outputs["mean_intensity"].facts).read())
    assert facts["mean_counts"][COHORT]["er"]["status"] == "done"
    numbers = drawn(study, "fig4f", fig4f)[1]["numbers"]
    for key in (f"gain_{COHORT}_er_mean_counts", f"p_{COHORT}_er_mean_counts"):
        assert numbers[key]["status"] == "done"
    with np.load(outputs["mean_intensity"].attention) as maps:  # of mean intensities alone
        assert len(maps) == 40


def test_what_cannot_be_had_says_why(study):
    numbers = drawn(study, "fig4f", fig4f)[1]["numbers"]
    status = {claim: numbers[claim]["status"] for claim in TARGETS["fig4f"]["claims"]}
    assert "expected train tissues of two classes or more, but all 80 are" in status["C053"]
    assert "expected the clinical column 'Subtype', but the tissues have none" in status["C055"]
    assert "grade: no tissue has a class" in status["C054"]
    assert status["C056"] == status["C014"] == "not run: data not supplied"


def test_a_cohort_without_any_task_leaves_no_picture_and_no_error(study):
    tasks = {COHORT: {key: TASKS[key] for key in ("pam50", "grade")}}
    root, outputs = study
    bare = root / "bare/all14"
    bare.mkdir(parents=True)
    facts = {COHORT: {k: {"status": "not run: no column", "runs": []} for k in tasks[COHORT]}}
    (bare / "facts.json").write_text(json.dumps({"all14": facts}))
    empty = pd.read_parquet(outputs["all14"].predictions).iloc[:0]
    empty.to_parquet(bare / "predictions.parquet")
    files = {"predictions": bare / "predictions.parquet", "facts": bare / "facts.json"}
    study = root, {"all14": SimpleNamespace(**files)}
    folder, record = drawn(study, "fig4f", fig4f, tasks=tasks)
    assert record["status"] == "not run: no column" and not record["picture"]
    assert not list(folder.glob("fig4f.*"))
    assert record["numbers"]["C055"]["status"] == "not run: no column"


def test_facts_and_attention_of_every_test_tissue_are_kept(study):
    root, outputs = study
    facts = json.loads(open(outputs["all14"].facts).read())["all14"][COHORT]
    assert facts["er"]["status"] == "done" and len(facts["er"]["runs"]) == 2
    assert facts["er"]["runs"][0]["level"] == "patch"
    assert facts["er"]["runs"][0]["fitted"] + facts["er"]["runs"][0]["validated"] == 80
    tissues = tissues_of(root / "cohorts" / COHORT)
    with np.load(outputs["all14"].attention) as maps:
        assert len(maps) == (tissues["split"] == "test").sum() == 40
        for attention in maps.values():
            assert attention.shape == (6, 4) and attention.sum() == pytest.approx(1, abs=1e-5)
    with np.load(outputs["resnet50"].attention) as maps:
        assert next(iter(maps.values())).shape == (24, 1)


def test_the_same_job_gives_the_same_bytes(study, tmp_path):
    root, outputs = study
    (tmp_path / "embeddings").symlink_to(root / "embeddings")
    (tmp_path / "cohorts").symlink_to(root / "cohorts")
    again = classified(tmp_path, "all14")
    for key in ("predictions", "attention", "facts"):
        paths = [getattr(output, key) for output in (outputs["all14"], again)]
        assert open(paths[0], "rb").read() == open(paths[1], "rb").read(), key


def test_class_sizes_are_drawn_and_tasks_without_any_say_why(study):
    folder, record = drawn(study, "figS19", figS19)
    assert (folder / "figS19.png").exists()
    table = pd.read_csv(folder / "source_data.csv")
    assert table["train"].sum() == 2 * 80 and table["test"].sum() == 2 * 40
    assert record["numbers"][f"{COHORT}_er_positive_test"]["value"] == table["test"].iloc[0]
    assert "expected the clinical column" in record["numbers"][f"{COHORT}_pam50"]["status"]


def test_every_statement_of_the_figure_is_covered():
    given = [
        tissue_claims.IMAGES,
        tissue_claims.IMAGES_AT,
        {tissue_claims.SHARE: None},
        tissue_claims.F1,
        tissue_claims.GAIN,
        tissue_claims.P_VALUE,
    ]
    assert sorted(key for part in given for key in part) == sorted(TARGETS["fig4f"]["claims"])
