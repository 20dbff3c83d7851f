"""Every key of config.yaml changes some job, and a script or rule mentions it by name."""

import copy
import functools
import re
from pathlib import Path

import pytest
import snakemake.api  # before its workflow, which imports it in turn
import snakemake.common.configfile
import snakemake.parser
import snakemake.workflow
import yaml

from workflow_scripts.common import study
from workflow_scripts.common.mock import planned_jobs

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
# Another legal value, where one cannot be made by adding to the number that is there.
OTHER = {
    "study": "another",
    "archives": "elsewhere",
    "seeds": [7],
    "device": "cpu",
    "cohorts": ["danenberg2022"],
    "cohort": "hoch2022",
    "simulation": {
        "seed": 1,
        "patients": 2,
        "tissues": {"sim_damond2019": 2},
        "side": [256, 256],
        "cells": 9,
        "undersized": [],
    },
    "preprocess.quantile_over": "all",
    "preprocess.statistics_over": "all",
    "preprocess.statistics_images": "train",
    "preprocess.blur_kernel": 5,
    "markers.source": "table",
    "markers.table": "resources/markers.csv",
    "markers.sequences": "resources/claims.csv",
    "markers.uniprot_url": "https://example.org",
    "markers.esm2.weights": "seeded",
    "markers.esm2.sha256": "12345678",
    "published.hub": "https://example.org",
    "published.repository": "another/model",
    "published.revision": "another",
    "published.file": "another.safetensors",
    "model.encoder": "hv",
    "model.decoder": "f",
    "model.attention": "reference",
    "pretrain.max_steps": 5,
    "pretrain.schedule": "one_cycle",
    "pretrain.precision": "bf16",
    "pretrain.mask_ratio": [0.5, 1.0],
    "pretrain.channel_dropout": [0.0, 0.5],
    "reconstruction.example_scale": "log1p",
    "reconstruction.zero_shot.cohort": "cords2024",
    "reconstruction.zero_shot.instance": "wo_cords2024",
    "instances": [{"name": "other", "cohorts": "all"}],
    "models": ["all14"],
    "rivals.resnet50.cohorts": ["hoch2022"],
    "rivals.camae.cohorts": ["hoch2022"],
    "rivals.kronos.cohorts": ["cords2024"],
    "rivals.kronos.nucleus": "P62736",
    "rivals.kronos.nucleus_in_some": ["hu2023"],
    "rivals.resnet50.weights": "resources/claims.csv",
    "rivals.resnet50.sha256": "12345678",
    "rivals.resnet50.scaling": "none",
    "rivals.camae.input": "standardised",
    "rivals.camae.training.optimizer": "adamw",
    "rivals.camae.training.schedule": "cosine",
    "rivals.camae.training.max_steps": 5,
    "rivals.camae.heads": 12,
    "rivals.camae.patch": 16,
    "rivals.kronos.heads": 12,
    "rivals.kronos.patch": 16,
    "rivals.kronos.large_view": 144,
    "rivals.kronos.small_view": 56,
    "rivals.kronos.centring": "sinkhorn",
    "rivals.kronos.training.optimizer": "lion",
    "rivals.kronos.training.schedule": "one_cycle",
    "rivals.kronos.training.max_steps": 5,
    "cells.labels.cords2024": ["cell_category"],
    "cells.labels.danenberg2022": ["cell_phenotype"],
    "cells.labels.hoch2022": ["phenotype"],
    "retrieval.cohort": "wang2023",
    "own.weights": "published",
    "retrieval.label": "cell_type",
    "retrieval.cases.fig4k": [{"subtype": "a", "grade": "1", "quantile": 0.5}],
    "retrieval.cases.figS21": [{"subtype": "a", "grade": "1", "quantile": 0.5}],
    "tissue_tasks.tasks.cords2024": ["subtype"],
    "tissue_tasks.tasks.danenberg2022": ["er"],
    "tissue_tasks.tumour.cords2024.column": "cell_type",
    "tissue_tasks.tumour.danenberg2022.column": "is_tumour",
    "tissue_tasks.tumour.wang2023.column": "phenotype",
    "attention.cohort": "hoch2022",
    "attention.label": "cell_type",
    "attention.tumour": ["Other"],
    "attention.shown": ["Squamous cell carcinoma", "Adenocarcinoma"],
    "attention.regions": [
        {"name": name, "cells": [["Other"]], "named": ["SMA"], "top": 1} for name in "abc"
    ],
    "scaling.cohort": "hoch2022",
    "scaling.labels": ["cell_type"],
    "scaling.camae": "restricted",
    "scaling.panels": [{"markers": 40, "instance": "only_cords2024_40"}],
    "biomarkers.cohort": "danenberg2022",
    "biomarkers.task": "relapse",
    "biomarkers.visit": "Another",
    "biomarkers.before": "Another",
    "biomarkers.label": "cell_type",
    "biomarkers.signatures.published": "resources/claims.csv",
    "biomarkers.surroundings.graph": "resources/claims.csv",
    "biomarkers.surroundings.shown": [{"signature": "RS2", "cell_type": "tumor"}],
    "response.cohort": "hoch2022",
    "response.task": "another",
    "response.visit": "another",
    "response.compared": "resnet50",
    "response.epsilon_unit": "absolute",
    "meyer_transfer.cohort": "hoch2022",
    "meyer_transfer.markers": "shared",
    "meyer_transfer.survival": "another",
    "meyer_transfer.groups": "another",
    "meyer_transfer.phenotype": "another",
    "meyer_transfer.label": "another",
    "meyer_transfer.orientation": "reversed",
    "cells.transfer.source": "hoch2022",
    "cells.transfer.target": "danenberg2022",
    "cells.transfer.label": "cell_type",
    "cells.transfer.target_label": "cell_type",
    "risk_groups.cohort": "wang2023",
    "risk_groups.task": "overall_survival",
    "risk_groups.tumour": "is_epithelial",
    "risk_groups.high": 3,
    "risk_groups.phenotype": "cell_type",
    "risk_groups.structures": "cell_type",
    "risk_groups.structure_share": 0.1,
    "risk_groups.other_states": [60],
    "risk_groups.compared": [],
}
# They change no number and so no job; scripts read them from the configuration.
UNTRACKED = {
    "cohort",  # of check_panel and own_cohort, which are no part of the study
    *(f"own.{key}" for key in CONFIG["own"]),
    "offline",
    "connections",
    *(f"published.{key}" for key in CONFIG["published"]),  # of a rule that `all` does not need
    "pretrain.workers",
    "pretrain.checkpoint_minutes",
    "pretrain.log_every",
    "pretrain.micro_batch",
    "pretrain.compile",
    "deterministic",
    "cells.labels.wang2023",  # its data are given on request: nothing of it runs here
    "tissue_tasks.tasks.wang2023",  # as above
    "pretrain.tensorboard",
    # Of jobs that need the same data; the figures, which say so, read the other keys.
    *(
        f"response.{key}"
        for key in ("compared", "epsilon", "epsilon_unit", "tolerance", "max_rounds", "share")
    ),
    "response.neighbours",
    "response.barycentre_points",
    "meyer_transfer.threads",
    *(
        f"meyer_transfer.{key}"
        for key in ("groups", "markers", "label", "tumour", "trees", "depth", "held_out", "folds")
    ),
}
# A key that matters only beside another one.
BESIDE = {
    "simulation": {
        "study": "demo",
        "simulated": True,
        "cohorts": ["demo/cohorts/sim_damond2019.yaml"],
    },
    "markers.esm2.weights": {"simulated": True},
    "markers.source": {"markers": {"table": "resources/claims.csv"}},
    "markers.table": {"markers": {"source": "table", "table": "resources/claims.csv"}},
    "instances": {"models": ["other"]},
    # An open cohort instead of one whose data are given on request.
    "biomarkers": {
        "biomarkers": {"cohort": "cords2024", "task": "subtype", "label": "cell_category"},
    },
}


def leaves(section, path=""):
    for key, value in section.items():
        name = f"{path}{key}"
        if isinstance(value, dict):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def another(name, value):
    if name in OTHER:
        return OTHER[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value * 2 or 1
    if isinstance(value, float):
        return value / 2
    assert isinstance(value, list) and value, f"{name}: give it another legal value in OTHER"
    return [*value[:-1], value[-1] / 2 if isinstance(value[-1], float) else "TP53"]


def nested(name, value):
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def merged(base, over):
    result = copy.deepcopy(base)
    for key, value in over.items():
        inner = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if inner else value
    return result


def footprint(overrides):
    """What Snakemake would run: the same text means that nothing changed."""
    # The report prints all settings, which would make this test pass for any key.
    jobs = [job for job in planned_jobs(overrides=overrides) if job.rule.name != "report"]
    return sorted(
        repr(
            (
                job.rule.name,
                list(job.input),
                list(job.output),
                sorted(job.params.items(), key=str),
                job.threads,
                sorted((k, v) for k, v in job.resources.items() if k != "tmpdir"),
            )
        )
        for job in jobs
    )


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """Read rules, settings and cohort files once: much of the time of a plan goes there."""
    parsed, cohort = {}, functools.cache(study.load_cohort)
    settings = functools.cache(snakemake.common.configfile.load_configfile)

    def parse(path, workflow, linemap, rulecount):
        key = path.get_path_or_uri(secret_free=True), rulecount
        if key not in parsed:
            lines = {}
            parsed[key] = snakemake.parser.parse(path, workflow, lines, rulecount=rulecount), lines
        found, lines = parsed[key]
        linemap.update(lines)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snakemake.workflow, "parse", parse)
        patch.setattr(study, "load_cohort", lambda name: copy.deepcopy(cohort(name)))
        patch.setattr(
            snakemake.common.configfile,
            "load_configfile",
            lambda path: copy.deepcopy(settings(path)),
        )
        yield


@pytest.fixture(autouse=True)
def forgotten():
    """Remove what a plan leaves in Snakemake's module, where it keeps all plans before alive."""
    names = set(vars(snakemake.workflow))
    yield
    for name in set(vars(snakemake.workflow)) - names:
        delattr(snakemake.workflow, name)


@pytest.fixture(scope="module")
def bases():
    return {}


@pytest.mark.study  # the full study is planned once for every key
@pytest.mark.parametrize(("name", "value"), list(leaves(CONFIG)), ids=lambda x: str(x)[:40])
def test_flipping_a_key_changes_a_job(name, value, bases):
    beside = BESIDE.get(name) or BESIDE.get(name.split(".")[0], {})
    key = repr(beside) if name != "instances" else ""
    if key not in bases:
        bases[key] = footprint(beside if key else {})
    flipped = merged(beside, nested(name, another(name, value)))
    assert (footprint(flipped) == bases[key]) == (name in UNTRACKED)


@pytest.mark.parametrize("name", [name for name, _ in leaves(CONFIG)])
def test_a_script_or_rule_reads_the_key(name):
    last = name.rsplit(".", 1)[-1]
    sources = [ROOT / "Snakefile", *ROOT.glob("rules/*.smk"), *ROOT.glob("demo/**/*.py")]
    sources += [*ROOT.glob("workflow_scripts/**/*.py"), *ROOT.glob("virtues_core/**/*.py")]
    pattern = re.compile(rf"\b{re.escape(last)}\b")
    assert any(pattern.search(path.read_text()) for path in sources), f"nothing reads {name}"
