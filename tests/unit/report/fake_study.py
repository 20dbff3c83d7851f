"""A small results tree as a finished run leaves it, for the tests of the report."""

import json
import shutil
from datetime import UTC, datetime
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from workflow_scripts.common import figures
from workflow_scripts.common.targets import (
    CLAIMS,
    FIGURES,
    RESOURCES,
    by_claim,
    load_claims,
    load_targets,
    numbered,
)
from workflow_scripts.common.validation import read_yaml
from workflow_scripts.report import report
from workflow_scripts.report.claims_table import claims_table, write_table
from workflow_scripts.report.record_not_run import write_not_run

NOW = datetime(2024, 5, 6, 7, 8, tzinfo=UTC)
ORIGIN = {
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "dirty": True,
    "python": "3.11.9",
    "packages": {"snakemake": "9.27.1", "torch": "2.13.0"},
    "system": "Linux",
    "processor": "A processor",
    "cores": 2,
    "gpu": "",
}
STAGES = {
    "cohorts": ["retrieve", "ingest"],
    "pretrain": ["pretrain"],
    "cells": ["fig3b"],
    "report": ["claims_table"],
}
# Targets that the study cannot run.
LACKING = ["fig5a", "fig5b", "fig5d", "fig5e", "fig5f", "fig5g", "figS22"]
WEIGHTS = "all14, sha256 " + "0a1b2c3d" * 8


def planted(claim, index):
    """A number that is reproduced, close, differs or is absent, by the claim's place."""
    if index % 7 == 6:
        return figures.not_run("data not supplied")
    careful = (0.4, "patients resampled") if index % 5 == 0 else None
    common = {"n": 41, "seeds": [0, 1], "weights": WEIGHTS, "careful": careful}
    if claim["relation"] == "holds":
        return figures.number(index % 3 != 0, **common)
    paper = float(claim["value"])
    factor = {"eq": 1, "gt": 1.2, "lt": 0.5, "le": 0.9}[claim["relation"]]
    if index % 4 == 2:
        factor = {"eq": 1.06, "gt": 0.97, "lt": 1.04, "le": 1.05}[claim["relation"]]
    if index % 4 == 3:
        factor = {"eq": 1.6, "gt": 0.5, "lt": 30, "le": 3}[claim["relation"]]
    ours = paper * factor
    if claim["metric"] in ("count", "rank"):
        return figures.number(round(ours), **common)
    spread = abs(paper) * 0.02
    return figures.number(ours, ours - spread, ours + spread, **common)


def tissue_picture():
    """Three rows of a smooth random tissue: measured, with hidden patches, rebuilt."""
    rng = np.random.default_rng(0)
    figure, axes = plt.subplots(3, 4, figsize=figures.figsize(183, 128))
    for column, marker in enumerate(("CAV1", "CD3E", "MTOR", "MYC")):
        truth = gaussian_filter(rng.random((128, 128)) ** 12, 2 + column)
        truth /= np.quantile(truth, 0.99)
        hidden = np.kron(rng.random((16, 16)) < 0.7, np.ones((8, 8))) > 0
        views = truth, np.where(hidden, np.nan, truth), gaussian_filter(truth, 3)
        labels = "measured", "input", "rebuilt"
        for axis, view, label in zip(axes[:, column], views, labels, strict=True):
            colours = plt.get_cmap("viridis").with_extremes(bad=figures.PALETTE["hidden"])
            axis.imshow(view, cmap=colours, vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[], ylabel=label if column == 0 else "")
        axes[0, column].set_title(marker)
    figures.scale_bar(axes[0, -1])
    return figure


def scores():
    """Macro-F1 of three models on a task of each cohort; one of them has no test cells."""
    return {
        "macro_f1_damond2019_cell_type_all14": figures.number(0.71, 0.66, 0.75, 12, [0], WEIGHTS),
        "macro_f1_damond2019_cell_type_kronos": figures.number(0.62, 0.5, 0.7, 12, [0]),
        "macro_f1_danenberg2022_cell_type_all14": figures.number(0.5, None, None, 3, [0], WEIGHTS),
        "macro_f1_danenberg2022_cell_type_mean_intensity": figures.not_run("no <test> cells"),
    }


def dot_plot(width=89):
    """A dot per cohort and masking strategy."""
    rng = np.random.default_rng(1)
    figure, axis = plt.subplots(figsize=figures.figsize(width, 50))
    for strategy in ("independent", "marker", "niche"):
        axis.plot(
            rng.uniform(0.3, 0.8, 2),
            ["Damond 2019", "Danenberg 2022"],
            figures.PALETTE["shapes"][strategy],
            color=figures.colour("strategies", strategy),
            label=strategy,
        )
    axis.set(xlim=(0, 1), ylim=(-0.5, 1.5), xlabel="Pearson r")
    axis.legend(loc="lower left")
    return figure


def write_figures(results, full, simulated):
    """Write the targets' folders; `full`: every one is done, with a picture."""
    figures.style()
    targets = load_targets()
    claims = {claim["id"]: (claim, i) for i, claim in enumerate(load_claims())}
    folder = results / "figures"
    lacking = [t for t in targets if t["id"] in LACKING]
    paths = [folder / target["id"] / "numbers.json" for target in lacking]
    write_not_run(targets, paths, dict.fromkeys(LACKING, "no such cohort"), simulated)
    done = [t for t in targets if t["kind"] != "schematic" and t["id"] not in LACKING]
    drawn = {"fig2a": tissue_picture(), "fig2d": dot_plot()}
    for target in [*done, *(lacking if full else [])]:
        name = target["id"]
        source = pd.DataFrame({"cohort": ["damond2019"], "pearson_r": [0.5]})
        numbers = {claim: planted(*claims[claim]) for claim in target["claims"]}
        if name == "fig3b":
            numbers |= scores()
        numbers["r_damond2019_niche"] = figures.number(0.5123, 0.48, 0.55, 12, [0], WEIGHTS)
        numbers["r_damond2019_marker"] = figures.not_run("the marker is constant")
        figures.save_target(
            folder / name, name, drawn.get(name), source, numbers, target["caption"], simulated
        )
    for target in [*done, *(lacking if full else [])]:
        name = target["id"]
        if name not in drawn:  # drawing each would take most of the tests' time
            path = folder / name / "numbers.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"picture": True}))
            for suffix in ("png", "svg"):
                shutil.copy(folder / f"fig2d/fig2d.{suffix}", folder / name / f"{name}.{suffix}")
    plt.close("all")
    return [folder / name / "numbers.json" for name in numbered(targets)]


def write_cohort(results, cohort):
    """Write one cohort's YAML, published tables and retrieved.json; returns their paths."""
    folder = results / "cohorts" / cohort
    folder.mkdir(parents=True)
    paths = {name: folder / f"{name}.parquet" for name in ("tissues", "cells", "sub_images")}
    card = {
        "id": cohort,
        "title": "A cohort of tissues",
        "citation": "Someone 2019",
        "licence": "CC BY 4.0",
        "access": "open",
        "simulated": cohort.startswith("sim_"),
    }
    (folder / "card.yaml").write_text(json.dumps(card))
    ids = [f"T{i}" for i in range(5)]
    tissues = {"tissue_id": ids, "patient_id": [*"ABBCD"], "split": ["train"] * 4 + ["test"]}
    pd.DataFrame(tissues).to_parquet(paths["tissues"])
    pd.DataFrame({"tissue_id": ids * 300, "cell_id": range(1500)}).to_parquet(paths["cells"])
    pd.DataFrame({"tissue_id": ids * 4}).to_parquet(paths["sub_images"])
    channels = {
        "channel_name": ["SMA", "CD3e", "Ir191", "empty"],
        "uniprot_id": ["P62736", "P07766", None, "P12345"],
        "qc_pass": [True, True, True, False],
    }
    pd.DataFrame(channels).to_parquet(folder / "channels.parquet")
    reasons = ["side 200 px below 256 px", "side 201 px below 256 px", "no usable <sub-image>"]
    pd.DataFrame({"tissue_id": ["T7", "T8", "T9"], "reason": reasons}).to_csv(
        folder / "exclusions.csv", index=False
    )
    (folder / "ingest.json").write_text(json.dumps({"warnings": ["3 cells have no label."]}))
    file = {
        "name": "Images.zip",
        "size": 123456789,
        "sha256": "ab" * 32,
        "md5": None,
        "url": "https://zenodo.org/records/1/files/Images.zip",
        "checked_against": {"size": "record", "sha256": "record"},
    }
    archive = results / "archives" / cohort
    archive.mkdir(parents=True)
    (archive / "retrieved.json").write_text(json.dumps({"files": [file], "record": None}))
    return {
        **paths,
        "cards": folder / "card.yaml",
        "exclusions": folder / "exclusions.csv",
        "channels": folder / "channels.parquet",
        "ingest": folder / "ingest.json",
        "retrieved": archive / "retrieved.json",
    }


def write_rest(results):
    """Write benchmark files and one training's metrics; returns the path of these."""
    header = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    jobs = {
        "ingest/damond2019": (12.5, 400),
        "ingest/danenberg2022": (14.0, 450.5),
        "embed/wo_sim_danenberg2022_sim_danenberg2022": (1.0, 100),  # too long for a phone's line
        "embed/all14_damond2019": (0.5, 100),
        "pretrain/all14": (140, 1800),
        "claims_table": (0.2, "NA"),
    }
    for job, (seconds, memory) in jobs.items():
        path = results / "benchmarks" / f"{job}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{header}{seconds}\t0:00:01\t{memory}\t0\t0\t0\t0\t0\t0\t0\n")
    metrics = {
        "instance": "all14",
        "cohorts": ["damond2019"],
        "steps": 200,
        "parameters": 412345,
        "first_loss": 1.02,
        "last_loss": 0.61,
        "seconds": 138.2,
        "device": "cpu",
        "seed": 0,
        "losses": list(1 / np.arange(1, 201)),
        "weights_sha256": "0a1b2c3d" * 8,
    }
    path = results / "models/all14/metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(metrics))
    return path


def write_loss_curves(results, simulated):
    """Write the picture of the losses; returns its numbers.json."""
    folder = results / "figures/loss_curves"
    picture, source = dot_plot(), pd.DataFrame({"instance": ["all14"], "step": [1], "loss": [1.0]})
    numbers = {"last_loss_all14": figures.number(0.61, seeds=[0], weights=WEIGHTS)}
    figures.save_target(
        folder, "loss_curves", picture, source, numbers, "Training losses", simulated
    )
    plt.close(picture)
    return folder / "numbers.json"


def fake_study(results, full=False, simulated=False, cohorts=("damond2019", "danenberg2022")):
    """Write a results tree under `results`; returns the report rule's inputs and params."""
    numbers = write_figures(results, full, simulated)
    claims = load_claims(CLAIMS)
    records = {path.parent.name: figures.read_numbers(path) for path in numbers}
    table = claims_table(claims, by_claim(load_targets(), claims), records)
    write_table(table, results / "claims.csv")
    prefix = "sim_" if simulated else ""
    written = [write_cohort(results, prefix + cohort) for cohort in cohorts]
    metrics = write_rest(results)
    names = (*report.COHORT_FILES, "retrieved")
    files = SimpleNamespace(
        figures=FIGURES,
        claims=results / "claims.csv",
        decisions=RESOURCES / "decisions.csv",
        deviations=RESOURCES.parent / "docs/deviations.md",
        graph=RESOURCES.parent / "docs/rulegraph.svg",
        numbers=numbers,
        models=[metrics],
        loss_curves=write_loss_curves(results, simulated),
        **{name: [paths[name] for paths in written] for name in names},
    )
    config = read_yaml(RESOURCES.parent / "config.yaml")
    return files, SimpleNamespace(
        study="fake",
        simulated=simulated,
        partial=False,
        config=config,
        configfiles=["config.yaml"],
        models=["all14", "kronos", "mean_intensity"],
        stages=STAGES,
        gpus={"pretrain": 2},
        downloads=[results / f"archives/{of}/retrieved.json" for of in ("esm2", "published")],
        benchmark_folder=results / "benchmarks",
        absent={"rigamonti": "the data of rigamonti are given on request"},
        left_out={"wo_rigamonti": "rigamonti is not among the cohorts of this study"},
    )


def fake_report(folder, **settings):
    """Build the report of a fake study; returns its folder."""
    files, params = fake_study(folder / "results", **settings)
    report.publish(lambda part: report.build(files, params, part, NOW, ORIGIN), folder / "report")
    return folder / "report"
