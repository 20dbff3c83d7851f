"""What own_cohort refuses, in one sentence each."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
import yaml

from tests.own_study import MINE, MODEL, write_cohort
from virtues_core import VirTues, VirTuesConfig, save_weights
from workflow_scripts.cohorts import check_panel
from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.cohorts.readers.panel import plain
from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.tokens import TokenStore
from workflow_scripts.markers.embed_markers import write_embeddings
from workflow_scripts.own.compare import transfer
from workflow_scripts.own.settings import resolve_own, why_no_references
from workflow_scripts.pretrain import given_weights


@pytest.fixture
def mine(tmp_path):
    """Return a function that writes a cohort file, changed; a value of None removes its key."""
    path = write_cohort(tmp_path, "mine", MINE, 1, 0, labelled=False)

    def write(**changes):
        document = yaml.safe_load(path.read_text()) | changes
        document = {key: value for key, value in document.items() if value is not None}
        path.write_text(yaml.safe_dump(document, allow_unicode=True))
        return path

    return write


def checked(path, tmp_path, trained=()):
    """Run the panel check as own_cohort does."""
    job = SimpleNamespace(
        input=SimpleNamespace(trained=[]),
        output=SimpleNamespace(panel=tmp_path / "panel.parquet"),
        params=SimpleNamespace(cohort=str(path), trained=list(trained)),
        config={"archives": str(tmp_path)},
    )
    check_panel.main(job)
    return pd.read_parquet(job.output.panel)


def test_a_panel_that_shares_markers_is_checked_into_a_table(mine, tmp_path):
    table = checked(mine(), tmp_path, ["cords2024"])
    assert table["model"].value_counts().to_dict()["left out"] == 1
    assert len(table) == len(MINE)


def test_a_panel_that_shares_no_marker_is_refused(mine, tmp_path):
    panel = [{"channel": name, "uniprot": f"Q9999{n}"} for n, name in enumerate(MINE)]
    sentence = r"mine.yaml: none of its 7 channels has an accession that the model was trained on"
    with pytest.raises(InputError, match=sentence):
        checked(mine(panel=panel), tmp_path, ["cords2024"])
    assert not (tmp_path / "panel.parquet").exists()


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        (None, "key 'pixel_size' is missing; expected the side of the images' pixels in um"),
        (0.4, "pixel_size is 0.4 um; expected 1 um or a whole fraction"),
        (5.0, "pixel_size is 5.0 um; expected 1 um or a whole fraction"),
        (0.95, "pixel_size is 0.95 um; expected 1 um or a whole fraction"),
    ],
)
def test_a_pixel_size_that_is_missing_or_far_from_a_micrometre_is_refused(
    mine, tmp_path, size, sentence
):
    with pytest.raises(InputError, match=sentence):
        checked(mine(pixel_size=size), tmp_path, ["cords2024"])


def named(*names):
    rest = list(MINE.items())[len(names) :]
    return [{"channel": n, "uniprot": "P07766"} for n in names] + [
        {"channel": name} | ({"uniprot": a} if a else {}) for name, a in rest
    ]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("CD3", "CD3"), "the panel names channel 'CD3' twice; give every channel its own name"),
        (("СD3",), "channel 'СD3' mixes Latin letters with Cyrillic ones, which look alike"),  # noqa: RUF001
    ],
)
def test_channel_names_that_are_one_or_look_like_one_are_refused(mine, tmp_path, names, sentence):
    with pytest.raises(InputError, match=sentence):
        checked(mine(panel=named(*names)), tmp_path, ["cords2024"])


def test_names_in_another_alphabet_are_kept_apart(mine, tmp_path):
    names = ("Виментин", "Кератин", "平滑肌", "β-catenin")
    table = checked(mine(panel=named(*names)), tmp_path, ["cords2024"])
    assert tuple(table["channel"][:4]) == names
    assert len({plain(name) for name in names}) == 4
    assert plain("CD8 (a)") == "cd8a" and plain("α-SMA") == "sma"


def test_files_named_in_another_alphabet_find_their_channels(tmp_path):
    folder = tmp_path / "data/p1_1"
    folder.mkdir(parents=True)
    for value, name in enumerate(("Виментин", "Кератин"), start=1):
        tifffile.imwrite(folder / f"{name}.tif", np.full((9, 9), value, np.uint16))
    document = {
        "id": "ru",
        "title": "Файлы",
        "access": "open",
        "source": {"folder": "data"},
        "reader": "channel_tiff",
        "layout": {
            "images": {"pattern": r"(?P<tissue>(?P<patient>p\d)_\d)/(?P<channel>[^/]+)\.tif$"}
        },
        "panel": [
            {"channel": "Кератин", "uniprot": "P04264"},
            {"channel": "Виментин", "uniprot": "P08670"},
        ],
    }
    (tmp_path / "ru.yaml").write_text(yaml.safe_dump(document, allow_unicode=True))
    cohort = load_cohort(tmp_path / "ru.yaml")
    [tissue] = read_source(cohort.folder, cohort).tissues
    assert tissue.load_image()[:, 0, 0].tolist() == [2, 1]


@pytest.mark.parametrize(("axes", "shape"), [("TCYX", (2, 7, 20, 20)), ("TYX", (7, 20, 20))])
def test_a_time_series_is_refused(mine, tmp_path, axes, shape):
    path = mine()
    image = np.zeros(shape, np.uint16)
    tifffile.imwrite(
        tmp_path / "mine/images/p0_1.tiff", image, imagej=True, metadata={"axes": axes}
    )
    cohort = load_cohort(path)
    [tissue] = read_source(cohort.folder, cohort).tissues
    with pytest.raises(InputError, match=f"p0_1.tiff: the image is a time series .axes {axes}"):
        tissue.load_image()


def test_weights_of_another_width_are_refused(tmp_path):
    small = {key: value for key, value in MODEL.items() if key != "attention"}
    weights, table = tmp_path / "w.safetensors", tmp_path / "e.safetensors"
    wide = VirTuesConfig(**(small | {"width": 64}), marker_width=8)
    save_weights(VirTues(wide, torch.zeros(1, 8)), weights)
    write_embeddings(table, {"P07766": torch.zeros(8)}, "made up")
    output = {name: tmp_path / name for name in ("weights", "config", "metrics")}
    job = SimpleNamespace(
        input=SimpleNamespace(weights=weights, embeddings=table),
        output=output,
        params=SimpleNamespace(model=small, cohorts=[]),
        wildcards=SimpleNamespace(instance="given"),
    )
    with pytest.raises(
        InputError, match=r"of other shape: .*\[64\].*`model` of config.yaml: width 32"
    ):
        given_weights.main(job)
    assert not any(path.exists() for path in output.values())


def study(**changes):
    cohort = SimpleNamespace(path="lung.yaml", cells={"labels": {"cell_type": "type"}}, id="lung")
    settings = {
        "simulated": True,
        "own": {"weights": None, "references": True, "stain": []},
        "cells": {"transfer": {"source": "lung", "label": "cell_type"}},
        "retrieval": {"cohort": "lung"},
    }
    one = SimpleNamespace(
        config=settings | changes,
        cohorts={"lung": cohort},
        instances={"all14": ["lung"]},
        panels={"all14": None},
        why_not=lambda cohort: f"{cohort} is not in this study",
    )
    return one


@pytest.mark.parametrize(
    ("changes", "settings", "sentence"),
    [
        ({"own": {"weights": "all41"}}, {}, "own.weights': 'all41' is no trained instance of this"),
        (
            {"source": {"folder": "nowhere"}},
            {},
            "key 'source.folder': there is no folder .*nowhere",
        ),
        ({}, {"simulated": False}, "the cohort is simulated; expected a study with `simulated: t"),
    ],
)
def test_what_the_cohort_file_asks_for_must_be_there(mine, changes, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        resolve_own(study(**settings), load_cohort(mine(**changes)))


def test_a_cohort_to_be_downloaded_is_of_the_study_or_refused():
    with pytest.raises(
        InputError, match="danenberg2022.yaml: key 'source': own_cohort reads images"
    ):
        resolve_own(study(simulated=False), load_cohort("danenberg2022"))


def test_published_weights_were_trained_on_the_papers_cohorts(mine):
    own = resolve_own(study(), load_cohort(mine(own={"weights": "published", "stain": ["CD8"]})))
    assert own.model == "published" and own.settings["stain"] == ["CD8"]
    assert len(own.cohorts) == 14 and "meyer2025" not in [cohort.id for cohort in own.cohorts]


def test_references_that_are_not_there_say_why(mine):
    own = resolve_own(study(), load_cohort(mine()))
    assert why_no_references(study(), own) == {}
    other = study(retrieval={"cohort": "cords2024"})
    assert why_no_references(other, own) == {"cases": "cords2024 is not in this study"}
    without = resolve_own(study(), load_cohort(mine(own={"references": False})))
    assert set(why_no_references(study(), without)) == {"types", "cases"}
    label = study(cells={"transfer": {"source": "lung", "label": "phenotype"}})
    with pytest.raises(
        InputError, match="lung.yaml has no labels 'phenotype'; expected one of cell"
    ):
        why_no_references(label, own)


def tokens(folder, cells):
    folder.mkdir(parents=True)
    store = TokenStore(folder)
    if cells:
        rows = [{"tissue_id": "t", "cell_id": n} for n in range(cells)]
        store.append("cells", np.random.default_rng(0).normal(size=(cells, 4)).astype("f4"), rows)
    store.close()


@pytest.mark.parametrize(
    ("own", "labels", "sentence"),
    [
        (0, ["A", "B"], "the cohort has no cell masks, and so no cells"),
        (4, None, "lung has no cells with a cell_type"),
        (4, ["A", "A"], "lung has fewer than two kinds of cell_type"),
        (4, [None, None], "lung has fewer than two kinds of cell_type"),
    ],
)
def test_labels_that_are_missing_leave_a_reason(tmp_path, own, labels, sentence):
    tokens(tmp_path / "own", own)
    tokens(tmp_path / "reference", 6)
    metadata = tmp_path / "lung/metadata"
    metadata.mkdir(parents=True)
    cells = pd.DataFrame({"tissue_id": "t", "cell_id": range(6)})
    if labels:
        cells["cell_type"] = pd.Series(labels * 3, dtype=object)
    cells.to_parquet(metadata / "cells.parquet")
    tissues = pd.DataFrame({"tissue_id": ["t"], "patient_id": ["p"], "split": ["train"]})
    tissues.to_parquet(metadata / "tissues.parquet")
    settings = {"trees": 3, "depth": 3}
    table, facts = transfer(tmp_path, tmp_path / "lung", "cell_type", settings, 0, 1)
    assert len(table) == 0 and facts["reason"] == sentence
