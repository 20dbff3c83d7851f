"""The embedded study from an empty folder to the report, as `make demo` runs it."""

import csv
import json
import re
import zipfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
import zarr

from workflow_scripts.cells.logistic import fit_logistic
from workflow_scripts.cells.probe_cells import confusion
from workflow_scripts.commands.clean_intermediate import found
from workflow_scripts.common.cell_types import labelled_cells
from workflow_scripts.common.provenance import sha256
from workflow_scripts.common.scores import Confusion
from workflow_scripts.common.targets import load_targets, numbered
from workflow_scripts.common.tokens import Rows, read_tokens

pytestmark = pytest.mark.study
# Cohort: channels with an accession.
BENCHMARKS = {"sim_danenberg2022": 13, "sim_cords2024": 12, "sim_wang2023": 12, "sim_hoch2022": 12}
COHORTS = BENCHMARKS | {
    "sim_rigamonti": 10,
    "sim_meyer2025": 11,
    "sim_jackson2020": 11,
    "sim_moldoveanu2022": 10,
    "sim_damond2019": 12,
    "sim_cords2023": 10,
    "sim_hu2023": 11,
    "sim_schulz2018": 7,
    "sim_zhu2025": 10,
    "sim_allam2022": 11,
    "sim_immucan2024": 11,
}
HELD_OUT = "sim_meyer2025"
WITHOUT_MASKS = ("sim_hu2023", "sim_schulz2018", "sim_allam2022")
PROBED = [
    ("sim_danenberg2022", "cell_type"),
    ("sim_cords2024", "cell_category"),
    ("sim_cords2024", "cell_type"),
    ("sim_wang2023", "cell_category"),
    ("sim_wang2023", "cell_type"),
    ("sim_hoch2022", "cell_type"),
]


@pytest.fixture(scope="module")
def demo(checkout, snakemake):
    folder = checkout("demo")
    run = snakemake(folder, "--profile", "demo", "all")
    assert run.returncode == 0, run.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def results(demo):
    return demo / "results/demo"


def test_it_takes_few_jobs_and_a_second_run_has_nothing_to_do(demo, snakemake):
    again = snakemake(demo, "--profile", "demo", "all", "-n")
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr
    jobs = list((demo / "results/demo/benchmarks").rglob("*.tsv"))
    assert 20 <= len(jobs) <= 200


def test_snakemakes_own_report_shows_every_picture(demo, snakemake):
    run = snakemake(demo, "--profile", "demo", "all", "--report", "report.zip")
    assert run.returncode == 0, run.stderr[-2000:]
    with zipfile.ZipFile(demo / "report.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {"report.html", "claims.csv", "fig2d.png", "figS11.png"} <= names
    assert len(names) >= 30


def test_every_drawn_target_has_a_manifest(results):
    paths = list((results / "figures").glob("*/numbers.json"))
    drawn = {path.parent.name for path in paths}
    assert drawn == {*numbered(load_targets()), "loss_curves"}
    for path in paths:
        manifest = json.loads(path.with_name("manifest.json").read_text())
        assert manifest["target"] == path.parent.name and manifest["code"]
        assert path.name in manifest["outputs"]
        for name, digest in manifest["outputs"].items():
            assert sha256(path.with_name(name)) == digest, f"{path.parent.name}/{name}"


def test_cleaning_leaves_a_finished_study_finished(demo, snakemake, tmp_path):
    """Last of the tests that run Snakemake here: what it removes is put back."""
    results, kept = demo / "results/demo", []
    for _, _, paths, _ in found(results):
        for path in paths:
            hidden = tmp_path / str(len(kept))
            path.rename(hidden)
            kept.append((hidden, path))
    try:
        again = snakemake(demo, "--profile", "demo", "all", "-n")
        assert "Nothing to be done" in again.stdout + again.stderr
    finally:
        for hidden, path in kept:
            hidden.rename(path)
    assert len(kept) > 30


def planned_rules(demo, snakemake):
    """Return the rules that a dry run of the embedded study would run again."""
    run = snakemake(demo, "--profile", "demo", "all", "-n")
    assert run.returncode == 0, run.stderr[-2000:]
    return set(re.findall(r"^(\w+) +\d+$", run.stdout, re.M)) - {"all", "total"}


@pytest.mark.parametrize(
    ("file", "before", "after", "again"),
    [
        ("workflow_scripts/pretrain/pretrain.py", "\ndef main(", "\n# a comment\ndef main(", set()),
        ("virtues_core/model.py", '"""', '"""An edited docstring. ', set()),
        (
            "virtues_core/rotary.py",
            "BASE = 10000.0",
            "BASE = 1000.0",
            {"pretrain", "embed", "fig2d"},
        ),
    ],
)
def test_only_code_that_computes_runs_again(demo, snakemake, file, before, after, again):
    path = demo / file
    text = path.read_text()
    assert before in text
    try:
        path.write_text(text.replace(before, after, 1))
        rules = planned_rules(demo, snakemake)
    finally:
        path.write_text(text)
    assert rules >= again and bool(rules) == bool(again)
    assert not rules & {"ingest", "preprocess", "embed_markers"}


def test_no_job_takes_4_gb(results):
    for path in (results / "benchmarks").rglob("*.tsv"):
        memory = pd.read_csv(path, sep="\t", na_values=["-", "NA"])["max_rss"].max()
        assert not memory > 4000, f"{path.name}: {memory} MB"


def test_every_cohort_is_prepared_by_three_jobs_and_all_of_them_in_three_minutes(results):
    seconds = 0
    for rule in ("ingest", "split", "preprocess"):
        paths = list((results / "benchmarks" / rule).glob("*.tsv"))
        assert {path.stem for path in paths} == set(COHORTS)
        seconds += sum(pd.read_csv(path, sep="\t")["s"].sum() for path in paths)
    assert seconds / 2 < 180  # on two cores


def test_the_claims_table_has_every_statement_and_reproduces_none(results):
    with open(results / "claims.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 154
    verdicts = {row["id"]: row["verdict"] for row in rows}
    carried = ("C020", "C021", "C027", *(f"C0{number}" for number in (22, 23, 24, 25, 26, 28, 29)))
    assert {verdicts[claim] for claim in carried} == {"simulated data"}
    assert verdicts["C041"] == "simulated data"
    assert not {"reproduced", "close", "differs"} & set(verdicts.values())


def test_a_region_that_is_too_small_is_excluded_with_its_reason(results):
    table = pd.read_csv(results / "cohorts/sim_danenberg2022/exclusions.csv")
    assert len(table) == 1 and re.fullmatch(r"side \d+ px below 256 px", table["reason"][0])


@pytest.mark.parametrize("cohort", COHORTS)
def test_a_cohort_is_published_in_the_spora_layout(results, cohort):
    folder = results / "cohorts" / cohort
    tissues = pd.read_parquet(folder / "metadata/tissues.parquet")
    assert {"tissue_id", "dataset", "patient_id", "specimen_id", "modality", "split"} <= set(
        tissues
    )
    cells = pd.read_parquet(folder / "metadata/cells.parquet")
    least = 0 if cohort in WITHOUT_MASKS else 1000 if cohort in BENCHMARKS else 250
    assert {"tissue_id", "cell_id"} <= set(cells) and (len(cells) > least or not least)
    for tissue in tissues["tissue_id"]:
        image = zarr.open_group(folder / f"imc/1_0mpp/images/{tissue}.ome.zarr", mode="r")
        assert image.attrs["ome"]["version"] == "0.5" and image["0"].dtype == "float32"
        assert (folder / f"segmentations/1_0mpp/tissue_masks/{tissue}.npz").exists()
        mask = folder / f"segmentations/1_0mpp/cell_masks/instances/{tissue}.npz"
        assert mask.exists() == (cohort not in WITHOUT_MASKS)
    split = pd.read_csv(results / f"splits/{cohort}.csv").groupby("patient_id")["split"]
    assert (split.nunique() == 1).all() and set(split.first()) == {"train", "test"}


@pytest.mark.parametrize("cohort", BENCHMARKS)
@pytest.mark.parametrize("model", ["all14", "mean_intensity"])
def test_the_index_names_every_token(results, cohort, model):
    width = 64 if model == "all14" else COHORTS[cohort]
    folder = results / "embeddings" / model / cohort
    index = pd.read_parquet(folder / "index.parquet")
    levels = index["level"].value_counts()
    for level in ("niche", "cells", "tissue"):
        array = zarr.open_array(folder / f"{level}.zarr", mode="r")
        assert array.shape == (levels.get(level, 0), width)
        assert index[index["level"] == level]["position"].tolist() == list(range(levels[level]))
    assert zarr.open_array(folder / "patch.zarr", mode="r").shape == (levels["niche"], 8, 8, width)
    published = pd.read_parquet(results / f"cohorts/{cohort}/metadata/cells.parquet")
    embedded = index[index["level"] == "cells"][["tissue_id", "cell_id"]]
    assert len(embedded.merge(published, on=["tissue_id", "cell_id"])) == len(published)


def test_training_learns_and_traces_its_weights(results):
    metrics = json.loads((results / "models/all14/metrics.json").read_text())
    assert metrics["last_loss"] < 0.6 * metrics["first_loss"]
    numbers = json.loads((results / "figures/fig2d/numbers.json").read_text())["numbers"]
    assert metrics["weights_sha256"] in numbers["C020"]["weights"]
    assert numbers["C020"]["low"] < numbers["C020"]["value"] < numbers["C020"]["high"]
    # The planted noise marker cannot be guessed; the others can.
    table = pd.read_csv(results / "figures/figS11/source_data.csv")
    ours = table[(table["predictor"] == "model") & (table["strategy"] == "independent")]
    r = ours.set_index(["cohort", "marker"])["pearson_r"]
    assert abs(r["sim_danenberg2022", "PD-1"]) < 0.1 < r["sim_danenberg2022"].median()
    mean = table[(table["predictor"] == "baseline") & (table["strategy"] == "independent")]
    lead = r - mean.set_index(["cohort", "marker"])["pearson_r"]
    assert lead["sim_danenberg2022", "PD-1"] < 0.05 < lead["sim_danenberg2022"].median()


def test_zero_shot_is_close_to_in_domain_for_seen_markers(results):
    cohort = "sim_danenberg2022"
    record = json.loads((results / "figures/fig2h/numbers.json").read_text())
    numbers = record["numbers"]
    for strategy in ("independent", "niche"):
        assert abs(numbers[f"loss_seen_{strategy}"]["value"]) < 0.05
        assert numbers[f"zero_shot_seen_{strategy}"]["value"] > 0.2  # close, and not both nothing
    for model in ("all14", f"wo_{cohort}"):
        metrics = json.loads((results / f"models/{model}/metrics.json").read_text())
        assert metrics["weights_sha256"] in numbers["C022"]["weights"]
    table = pd.read_csv(results / "figures/fig2h/source_data.csv")
    noise = table[table["marker"] == "PD-1"]
    assert len(noise) == 3 and (noise[["zero_shot_r", "in_domain_r"]].abs() < 0.1).all(axis=None)
    assert set(noise["group"]) == {"seen"}  # another panel has it
    assert set(table[table["group"] == "new"]["marker"]) == {"Caveolin-1"}


def test_reconstruction_is_above_the_visible_mean(results):
    numbers = json.loads((results / "figures/fig2d/numbers.json").read_text())["numbers"]
    for cohort in BENCHMARKS:  # the others have too few patients for an interval
        for strategy in ("independent", "niche"):
            assert numbers[f"lead_{cohort}_{strategy}"]["low"] > 0.03
            assert 0 < numbers[f"f1_{cohort}_{strategy}"]["value"] < 1


def test_every_reconstruction_target_has_its_picture(results):
    names = [f"fig2{letter}" for letter in "abcdfgh"] + [f"figS{n}" for n in range(2, 14)]
    for name in names:
        record = json.loads((results / f"figures/{name}/numbers.json").read_text())
        assert record["status"] == "done" and record["picture"], (name, record["status"])
    record = json.loads((results / "figures/figS14/numbers.json").read_text())
    assert record["status"] == "not run: the panel has no further marker of this group"


def test_every_training_is_a_run_of_its_own(results):
    metrics = {p.parent.name: json.loads(p.read_text()) for p in results.glob("models/*/m*.json")}
    seen = {name: set(card["cohorts"]) for name, card in metrics.items()}
    pretrained = set(COHORTS) - {HELD_OUT}
    assert seen.pop("all14") == pretrained
    assert seen.pop("only_sim_danenberg2022") == {"sim_danenberg2022"}
    assert seen.pop("only_sim_cords2024_5") == {"sim_cords2024"}
    assert len(metrics["only_sim_cords2024_5"]["panel"]) == 5
    assert seen.pop("camae_sim_cords2024") == {"sim_cords2024"}
    assert seen.pop("camae_sim_cords2024_5") == {"sim_cords2024"}
    panels = [metrics[name]["panel"] for name in ("only_sim_cords2024_5", "camae_sim_cords2024_5")]
    assert sorted(panels[0]) == sorted(panels[1])
    assert len(seen.pop("kronos")) > 4
    assert seen == {f"wo_{cohort}": pretrained - {cohort} for cohort in BENCHMARKS}
    assert len({card["weights_sha256"] for card in metrics.values()}) == len(metrics) == 10


@pytest.mark.parametrize(("model", "width"), [("resnet50", 9), ("camae", 48), ("kronos", 8)])
def test_rivals_have_tokens_on_the_cohort_that_they_serve(demo, results, snakemake, model, width):
    target = f"results/demo/embeddings/{model}/sim_cords2024"
    run = snakemake(demo, "--profile", "demo", target)
    assert run.returncode == 0, run.stderr[-2000:]
    folder = results / "embeddings" / model
    assert [path.name for path in folder.iterdir()] == ["sim_cords2024"]
    niches, tokens = read_tokens(folder / "sim_cords2024", "niche")
    assert tokens.shape == (len(niches), width) and tokens[:].std(axis=0).min() > 0
    cells, tokens = read_tokens(folder / "sim_cords2024", "cells")
    assert len(cells) > 500 if model != "resnet50" else (len(cells) == 0 and tokens is None)


def test_every_picture_of_the_report_is_there_and_says_simulated(results):
    page = (results / "report/index.html").read_text()
    pictures = set(re.findall(r'src="([^"]+)"', page))
    assert any("fig2d" in picture for picture in pictures)
    for picture in pictures:
        assert picture.startswith("data:") or (results / "report" / picture).exists(), picture
    for svg in results.glob("figures/*/*.svg"):
        assert ">simulated<" in svg.read_text().replace("\n", ""), svg.name
    assert not re.search(r'(src|href)="https?://', page)


def test_a_figure_is_the_same_to_the_byte_when_drawn_again(demo, results, snakemake):
    names = ("fig2a/fig2a.svg", "fig2a/fig2a.png", "fig2d/fig2d.svg", "fig2d/source_data.csv")
    before = [(results / "figures" / name).read_bytes() for name in names]
    run = snakemake(demo, "--profile", "demo", "fig2a", "fig2d", "--forcerun", "fig2a", "fig2d")
    assert run.returncode == 0, run.stderr[-2000:]
    assert [(results / "figures" / name).read_bytes() for name in names] == before


def test_every_job_has_a_log_with_what_it_did(results):
    logs = {
        path.relative_to(results / "logs").parts[0]: path
        for path in Path(results / "logs").rglob("*.log")
    }
    for rule in ("retrieve", "ingest", "split", "preprocess", "pretrain", "embed", "reconstruct"):
        assert re.search(r"\d\d:\d\d:\d\d INFO .*\d", logs[rule].read_text()), rule


def test_the_export_opens_in_anndata_and_scanpy(demo, results, snakemake):
    target = "results/demo/exports/all14/sim_danenberg2022/cells.h5ad"
    run = snakemake(demo, "--profile", "demo", target)
    assert run.returncode == 0, run.stderr[-2000:]
    cells = anndata.read_h5ad(demo / target, backed="r")
    tokens = zarr.open_array(results / "embeddings/all14/sim_danenberg2022/cells.zarr", mode="r")
    assert (cells.X[:] == tokens[:]).all() and bool(cells.uns["simulated"])
    assert {"tissue_id", "cell_id", "patient_id", "split", "cell_type", "x", "y"} <= set(cells.obs)
    assert cells.uns["panel"]["uniprot_id"].str.len().min() == 0  # DNA has no accession
    opened = scanpy.read_h5ad(demo / target)
    scanpy.pp.pca(opened, n_comps=3)
    assert opened.obsm["X_pca"].shape == (tokens.shape[0], 3)


def chance(test_cells):
    """Return the macro-F1 of always naming the largest class."""
    return (test_cells.max() / test_cells.sum()) * 2 / len(test_cells)


@pytest.mark.parametrize(("cohort", "label"), PROBED)
def test_the_probe_finds_planted_types(results, cohort, label):
    fine = {("sim_cords2024", "cell_type"): "figS16", ("sim_wang2023", "cell_type"): "figS17"}
    folder = results / "figures" / fine.get((cohort, label), "fig3b")
    numbers = json.loads((folder / "numbers.json").read_text())["numbers"]
    task = f"macro_f1_{cohort}_{label}"
    assert numbers[f"{task}_mean_intensity"]["value"] > 0.8
    assert numbers[f"{task}_mean_counts"]["value"] > 0.8
    table = pd.read_csv(folder / "source_data.csv")
    ours = table[(table["model"] == "all14") & (table["class"] != "macro-F1")]
    ours = ours[(ours["cohort"] == cohort) & (ours["label"] == label)]
    assert numbers[f"{task}_all14"]["value"] > max(0.4, 1.5 * chance(ours["test_cells"]))


def test_an_unseen_cohort_costs_the_probe_little(results):
    numbers = json.loads((results / "figures/fig3d/numbers.json").read_text())["numbers"]
    losses = [entry["value"] for key, entry in numbers.items() if key.startswith("loss_")]
    assert len(losses) == 4 and max(losses) < 0.15
    assert numbers["C036"]["value"] == max(map(abs, losses))
    numbers = json.loads((results / "figures/fig3c/numbers.json").read_text())["numbers"]
    assert numbers["lead_macro_f1"]["n"] == 5  # test patients
    assert "has the class nk" in numbers["C034"]["status"]


def test_labels_are_carried_over_by_shared_markers(results):
    numbers = json.loads((results / "figures/fig3g/numbers.json").read_text())["numbers"]
    assert numbers["C039"]["value"] > 0.6 and numbers["C037"]["value"] > 0.25
    assert "not seen the target" in numbers["C037"]["careful"]["label"]
    facts = json.loads((results / "tasks/transfer/mean_counts/facts.json").read_text())
    assert {"P68431", "P62736", "P07766", "P34810"} <= set(facts["markers"])  # in every panel
    assert (results / "figures/fig3f/fig3f.png").exists()


@pytest.mark.parametrize("model", ["all14", "mean_intensity"])
def test_shuffled_labels_bring_the_probe_to_chance(results, model):
    cohort = results / "cohorts/sim_hoch2022/metadata"
    index, tokens = read_tokens(results / f"embeddings/{model}/sim_hoch2022", "cells")
    tables = (pd.read_parquet(cohort / name) for name in ("cells.parquet", "tissues.parquet"))
    cells = labelled_cells(index, *tables, "cell_type")
    cells["truth"] = np.random.default_rng(0).permutation(cells["truth"])
    train, test = (cells[cells["split"] == split] for split in ("train", "test"))
    probe = fit_logistic(Rows(tokens, train["position"]), train["truth"], 1.0, 10000)
    scores = Confusion(confusion(test, probe.predict(Rows(tokens, test["position"]))))
    assert probe.converged and scores.macro_f1() < chance(scores.support()) + 0.05


def test_more_markers_reach_more_and_cost_more(results):
    record = json.loads((results / "figures/fig1e/numbers.json").read_text())
    numbers = record["numbers"]
    for label in ("cell_category", "cell_type"):
        assert numbers[f"gain_{label}_5_to_12"]["value"] > 0.05
    for model in ("virtues", "camae"):
        assert numbers[f"memory_gb_{model}_12"]["value"] > numbers[f"memory_gb_{model}_5"]["value"]
    assert 24 < (
        numbers["paper_parameters_camae_40"]["value"]
        / numbers["paper_parameters_virtues_40"]["value"]
    )
    assert "differ from run to run" in numbers["cost_camae_5"]["reason"]
    assert "needs three panels" in numbers["C011"]["status"]
    assert {path.name for path in (results / "tasks/cells").glob("*sim_cords2024_5*")} == {
        "only_sim_cords2024_5.parquet",
        "only_sim_cords2024_5.json",
        "camae_only_sim_cords2024_5.parquet",
        "camae_only_sim_cords2024_5.json",
    }
    for training, markers in (("camae_sim_cords2024_5", 5), ("camae_sim_cords2024", 12)):
        card = json.loads((results / f"models/{training}/config.json").read_text())
        metrics = json.loads((results / f"models/{training}/metrics.json").read_text())
        read = numbers[f"macro_f1_cell_type_camae_{markers}"]
        assert 0 < read["value"] < 1 and metrics["weights_sha256"] in read["weights"]
        assert len(card["markers"]) == markers


def test_attention_is_drawn_over_two_tissues_and_three_regions(results):
    record = json.loads((results / "figures/figS20/numbers.json").read_text())
    assert record["picture"] and all(f"C15{n}" in record["numbers"] for n in (6, 7, 8))
    ratings = pd.read_parquet(results / "tasks/attention/importance.parquet")
    assert len(ratings.dropna(subset=["row"])["region"].unique()) == 3
    assert ratings[["as_printed", "over_targets"]].notna().all(axis=None)


def test_the_same_seed_gives_the_same_bytes(demo, results, snakemake):
    """The last test: what it draws again is newer than the report."""

    def drawn():
        files = (results / "figures").rglob("*")
        return {path: sha256(path) for path in files if path.is_file()}

    before = drawn()
    again = ["tableS1", "fig2d", "fig3b", "fig4h", "loss_curves"]
    paths = [f"results/demo/figures/{target}/numbers.json" for target in again]
    run = snakemake(demo, "--profile", "demo", "-R", *again, "--", *paths)
    assert run.returncode == 0, run.stderr[-2000:]
    assert drawn() == before
