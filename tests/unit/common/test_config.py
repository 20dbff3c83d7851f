"""The settings: the paper's values, and sentences for what is wrong."""

import copy
from pathlib import Path

import pytest
import yaml

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.study import Study

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "config.yaml").read_text())


# Section of the paper (or decision) and value, typed by hand and not read from the file.
PAPER = {
    "pretrain.learning_rate": 2e-4,  # Methods, pretraining
    "pretrain.epochs": 150,
    "pretrain.batch": 512,
    "pretrain.mask_ratio": [0.6, 1.0],
    "pretrain.channel_dropout": [0.0, 0.25],
    "pretrain.crop": 128,
    "pretrain.weight_decay": 0.04,
    "pretrain.weight_decay_end": 0.4,  # D31
    "pretrain.warmup": 0.0667,  # D31: 10 of 150 epochs
    "pretrain.clip_norm": 1.0,
    "pretrain.precision": "fp16",
    "pretrain.schedule": "cosine",
    "model.width": 512,  # the authors' configuration
    "model.feedforward": 1024,
    "model.heads": 8,
    "model.patch": 8,
    "model.encoder": "hv" * 8,
    "model.decoder": "f" * 4,
    "embed.crop": 128,
    "embed.stride": 42,
    "tissue.min_coverage": 0.30,
    "tissue.min_side": 256,
    "tissue.mask_sigma": 2.0,
    "sub_images.side": 256,
    "sub_images.per_fit": 4,
    "preprocess.clip_quantile": 0.99,
    "preprocess.blur_kernel": 3,
    "preprocess.blur_sigma": 1.0,
    "preprocess.quantile_over": "tissue",
    "preprocess.statistics_over": "tissue",
    "preprocess.statistics_images": "all",  # D7
    "split.test_fraction": 0.2,
    "markers.esm2.width": 640,
    "markers.esm2.layers": 30,
    "seeds": [0, 1, 2, 3, 4],
    "risk_groups.states": 120,  # Methods, tissue structure-based risk stratification
    "risk_groups.groups": 4,
    "risk_groups.high": 2,
}


@pytest.mark.parametrize("key", PAPER)
def test_defaults_are_the_papers(config, key):
    value = config
    for part in key.split("."):
        value = value[part]
    assert value == PAPER[key]


def test_the_study_resolves_cohorts_and_instances(config):
    study = Study(config)
    # All that are open but the one that is held out.
    assert study.instances["all14"] == [c for c in study.cohorts if c != "meyer2025"]
    assert len(study.cohorts) + len(study.absent) == 15 and study.held_out == ["meyer2025"]
    assert set(study.absent) == {"zhu2025", "rigamonti", "wang2023"}
    assert study.instances["wo_hoch2022"] == [
        cohort for cohort in study.instances["all14"] if cohort != "hoch2022"
    ]
    assert set(study.left_out) == {"wo_rigamonti", "wo_wang2023"}
    sizes = {name: len(panel) for name, panel in study.panels.items() if panel}
    assert sizes == {"only_cords2024_10": 10, "only_cords2024_20": 20}
    ten, twenty = (set(study.panels[f"only_cords2024_{n}"]) for n in sizes.values())
    whole = {row.get("uniprot") for row in study.cohorts["cords2024"].channels} - {None}
    assert ten < twenty < whole and len(whole) == 40


def changed(config, key, value):
    config = copy.deepcopy(config)
    *parents, last = key.split(".")
    section = config
    for part in parents:
        section = section[part]
    section[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("pretrain.learning_rat", 1e-3, "unknown key 'pretrain.learning_rat'.*'learning_rate'"),
        ("sede", [0], "unknown key 'sede'.*did you mean 'seeds'"),
        ("pretrain.batch", "many", "'pretrain.batch' is 'many', expected integer"),
        ("device", "gpu", "'device' is 'gpu'.*allowed: cuda, cpu"),
        ("models", ["all15"], "models: 'all15' is neither an instance nor a baseline"),
        ("pretrain.crop", 100, "pretrain.crop: 100 px is not a multiple of model.patch"),
        ("pretrain.crop", 512, "pretrain.crop: must fit into sub_images.side"),
        ("pretrain.mask_ratio", [1.0, 0.6], "pretrain.mask_ratio: must be .lowest, highest."),
        ("pretrain.channel_dropout", [0.0, 1.0], "pretrain.channel_dropout: .* below 1"),
        ("embed.stride", 200, "embed.stride: must not exceed embed.crop"),
        ("model.heads", 3, "model.width: must divide by 4 x model.heads"),
        ("markers.sequences", "synthetic", "simulated: synthetic sequences .* `simulated: true`"),
        ("cohorts", ["damond2019", "damond2019x"], "'damond2019x' is unknown"),
        ("instances", [{"name": "mean_intensity", "cohorts": "all"}], "'mean_intensity' is taken"),
        ("instances", [{"name": "mean_counts", "cohorts": "all"}], "'mean_counts' is taken"),
        (
            "instances",
            [{"name": "camae_x", "cohorts": "all"}],
            "the name 'camae_x' is one for a training of the rival camae; choose another",
        ),
        (
            "cells.labels",
            {"hoch2022": ["cell_typ"]},
            "cells.labels.hoch2022: 'cell_typ' is no granularity of .*cell_type",
        ),
        ("risk_groups.high", 4, "risk_groups.high: 4 of 4 groups leave none at low risk"),
        ("risk_groups.compared", ["mean"], "risk_groups.compared: 'mean' is no model; expected so"),
        (
            "risk_groups.structures",
            "tme",
            "risk_groups.structures: 'tme' is no label of .*; expected one of cell_phenotype, tme_",
        ),
        (
            "tissue_tasks.tasks",
            {"cords2024": ["sutbype"]},
            "tissue_tasks.tasks.cords2024: 'sutbype' is no task of .*; expected some of subtype",
        ),
        ("cohorts", ["damnod2019"], "'damnod2019' is unknown.*'damond2019'"),
        (
            "instances",
            [{"name": "all14", "cohorts": ["hoch2023"]}],
            "'hoch2023' is not in `cohorts`",
        ),
        (
            "instances",
            [{"name": "all14", "cohorts": "all", "weights": "nowhere.safetensors"}],
            "instances.all14.weights: there is no file nowhere.safetensors; expected the saf",
        ),
        (
            "instances",
            [{"name": "x", "cohorts": ["cords2024"], "panel": ["CD3", "CD33"]}],
            "instances.x.panel: 'CD33' is no marker of cords2024; did you mean 'CD3'",
        ),
        (
            "retrieval.cohort",
            "damond2019",
            "retrieval.cohort: damond2019 has no task 'subtype'; expected a cohort file with the",
        ),
    ],
)
def test_what_is_wrong_is_named(config, key, value, sentence):
    with pytest.raises(InputError, match=sentence):
        Study(changed(config, key, value))


def test_a_model_whose_instance_is_left_out_is_not_evaluated(config):
    config["cohorts"] = ["damond2019"]
    config["models"] = ["all14", "only_danenberg2022", "mean_intensity"]
    study = Study(config)
    assert study.models == ["all14", "mean_intensity"]
    assert "danenberg2022 is not among" in study.left_out["only_danenberg2022"]
    config["instances"] = [{"name": "only_danenberg2022", "cohorts": ["danenberg2022"]}]
    with pytest.raises(InputError, match="none can be trained: only_danenberg2022: danenberg2022"):
        Study(config)


def test_simulated_cohorts_need_a_simulated_study(config):
    cohort = str(ROOT / "demo/cohorts/sim_damond2019.yaml")
    with pytest.raises(InputError, match="sim_damond2019 is simulated.*simulated: true"):
        Study(changed(config, "cohorts", [cohort]))


def restricted(folder, access="request"):
    card = {
        "id": "closed",
        "title": "A cohort behind a door",
        "access": access,
        "source": {"folder": "not_here"},
        "reader": "steinbock",
        "layout": {},
        "panel": [{"channel": "CD3", "uniprot": "P07766"}],
    }
    path = folder / "closed.yaml"
    path.write_text(yaml.safe_dump(card))
    return str(path)


def test_a_cohort_whose_data_were_not_supplied_is_left_out_with_its_reason(config, tmp_path):
    study = Study(changed(config, "cohorts", ["damond2019", restricted(tmp_path)]))
    assert list(study.cohorts) == study.instances["all14"] == ["damond2019"]
    assert "given on request" in study.absent["closed"]
    with pytest.raises(InputError, match="cohorts: none can be read.*given on request"):
        Study(changed(config, "cohorts", [restricted(tmp_path)]))


def test_zero_shot_needs_a_cohort_that_one_model_saw_and_another_did_not(config):
    assert Study(config).zero_shot_absent().startswith("data not supplied: the data of rigamonti")
    zero_shot = config["reconstruction"]["zero_shot"]
    zero_shot |= {"cohort": "hoch2022", "instance": "wo_hoch2022"}
    assert Study(config).zero_shot_absent() is None
    absent = Study(changed(config, "cohorts", ["cords2024", "damond2019"])).zero_shot_absent()
    assert absent == "hoch2022 is not among the cohorts of this study"
    zero_shot["instance"] = "wo_hoch"
    absent = "wo_hoch is not among the trained instances of this study"
    assert Study(config).zero_shot_absent() == absent
    zero_shot |= {"cohort": "meyer2025", "instance": "wo_hoch2022"}
    assert Study(config).zero_shot_absent() == "all14 was not trained on meyer2025"
    zero_shot["cohort"] = "cords2024"
    with pytest.raises(InputError, match="'wo_hoch2022' trains on cords2024; expected an instance"):
        Study(config)
