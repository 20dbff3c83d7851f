"""Re-annotation on planted truth, on its absence, and through the rule's script."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.cohorts import reannotate as rule
from workflow_scripts.cohorts.reannotate import cell_means, read_verified, relabel
from workflow_scripts.cohorts.split import take_labels
from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.images import write_mask, write_ome_zarr

SETTINGS = {"labels": ["kind"], "trees": 30, "depth": 8, "seed": 0}


def planted(wrong, informative=True, cells=60, tissues=20, seed=0):
    """Return cells, true labels, features and patients; a share `wrong` of labels is another."""
    rng = np.random.default_rng(seed)
    count = cells * tissues
    truth = rng.integers(3, size=count)
    features = rng.normal(0, 0.4, (count, 5)).astype(np.float32)
    if informative:
        features[np.arange(count), truth] += 2
    tissue = np.repeat([f"t{i:02d}" for i in range(tissues)], cells)
    names = np.array(["B", "T", "tumour"])
    published = np.where(rng.random(count) < wrong, (truth + 1) % 3, truth)
    published[: 4 * cells] = truth[: 4 * cells]  # the images that were verified
    table = {"tissue_id": tissue, "cell_id": np.tile(np.arange(1, cells + 1), tissues)}
    table |= {"kind": names[published].astype(object)}
    return pd.DataFrame(table), names[truth], features, np.char.add("p", tissue)


VERIFIED = ["t00", "t01", "t02", "t03"]


def test_wrong_labels_are_put_right_and_verified_ones_kept():
    cells, truth, features, patients = planted(wrong=0.4)
    answer, facts = relabel(cells, features, VERIFIED, patients, SETTINGS)
    right = answer["kind"].to_numpy() == truth
    known = cells["tissue_id"].isin(VERIFIED)
    assert right[known].all() and right[~known].mean() > 0.97
    assert (cells["kind"] == truth)[~known].mean() < 0.65
    assert facts["kind"]["macro_f1_by_patient"] > 0.95
    assert facts["kind"]["changed_share"] == pytest.approx(0.4, abs=0.05)
    assert facts["kind"]["verified_cells"] == 240 and facts["kind"]["relabelled_cells"] == 960


def test_right_labels_stay_where_there_is_nothing_to_put_right():
    cells, _, features, patients = planted(wrong=0.0)
    _, facts = relabel(cells, features, VERIFIED, patients, SETTINGS)
    assert facts["kind"]["changed_share"] < 0.03


def test_a_forest_that_learns_nothing_says_so():
    cells, _, features, patients = planted(wrong=0.0, informative=False)
    _, facts = relabel(cells, features, VERIFIED, patients, SETTINGS)
    assert facts["kind"]["macro_f1_by_patient"] < 0.45


def test_the_same_seed_gives_the_same_labels():
    cells, _, features, patients = planted(wrong=0.4)
    first, _ = relabel(cells, features, VERIFIED, patients, SETTINGS)
    second, _ = relabel(cells, features, VERIFIED, patients, SETTINGS, threads=2)
    pd.testing.assert_frame_equal(first, second)


def test_cells_are_labelled_in_blocks_as_all_at_once(monkeypatch):
    cells, _, features, patients = planted(wrong=0.4)
    whole, _ = relabel(cells, features, VERIFIED, patients, SETTINGS)
    sizes, forest = [], rule.forest

    def watched(*args):
        model = forest(*args)
        predict = model.predict
        model.predict = lambda rows: sizes.append(len(rows)) or predict(rows)
        return model

    monkeypatch.setattr(rule, "forest", watched)
    monkeypatch.setattr(rule, "_score", lambda *args: None)
    monkeypatch.setattr(rule, "BLOCK", 500)
    blocks, _ = relabel(cells, features, VERIFIED, patients, SETTINGS)
    assert sizes == [500, 460]
    pd.testing.assert_frame_equal(blocks, whole)


def test_classes_that_no_verified_cell_has_are_named_and_one_patient_has_no_score():
    cells, _, features, patients = planted(wrong=0.0)
    cells.loc[cells["tissue_id"] == "t09", "kind"] = "rare"
    _, facts = relabel(cells, features, VERIFIED, patients, SETTINGS)
    assert facts["kind"]["classes_without_verified_cells"] == ["rare"]
    _, facts = relabel(cells, features, ["t00"], patients, SETTINGS)
    assert facts["kind"]["macro_f1_by_patient"] is None


def test_one_class_is_refused():
    cells, _, features, patients = planted(wrong=0.0)
    with pytest.raises(InputError, match="hold 1 classes of 'kind', expected two or more"):
        relabel(cells.assign(kind="B"), features, VERIFIED, patients, SETTINGS)


def test_means_are_those_of_each_cell():
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 5, (12, 9))
    image = rng.poisson(4, (3, 12, 9)).astype(np.float32)
    means = cell_means(image, mask, np.array([4, 2]))
    for row, cell in zip(means, (4, 2), strict=True):
        expected = np.log1p([channel[mask == cell].mean() for channel in image])
        np.testing.assert_allclose(row, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image\nt00\n", "no column 'tissue_id'; expected one verified image per row; rename"),
        ("tissue_id\nt00\nTMA7\n", r"1 of 2 verified images are not among the tissues \(TMA7\)"),
        ("tissue_id\n", r"0 of 0 verified images are not among the tissues \(none is listed\)"),
    ],
)
def test_a_wrong_list_is_one_sentence(text, sentence, tmp_path):
    path = tmp_path / "verified.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_verified(path, ["t00", "t01"])


def test_published_labels_are_kept_beside_the_new_ones():
    cells = pd.DataFrame({"tissue_id": ["a", "a"], "cell_id": [1, 2], "kind": ["T", "B"]})
    new = pd.DataFrame({"tissue_id": ["a", "a"], "cell_id": [2, 1], "kind": ["B", "B"]})
    table = take_labels(cells.assign(x=0.5), new)
    assert table["kind"].tolist() == ["B", "B"]
    assert table["kind_published"].tolist() == ["T", "B"] and "x" in table


def test_the_list_is_looked_for_with_the_data(tmp_path, cohort):
    cords = load_cohort("cords2024")
    assert cords.verified_images(tmp_path) is None
    (tmp_path / "cords2024").mkdir()
    (tmp_path / "cords2024/verified_images.csv").touch()
    assert cords.verified_images(tmp_path) == tmp_path / "cords2024/verified_images.csv"
    assert load_cohort("hoch2022").verified_images(tmp_path) is None
    cells = {"file": "c.csv", "tissue": "{t}", "cell": "c", "labels": {"kind": "k"}}
    again = SETTINGS | {"verified": "v.csv", "labels": ["other"]}
    with pytest.raises(InputError, match="'cells.reannotate.labels' names 'other', expected some"):
        cohort(cells={**cells, "reannotate": again})


def test_the_rule_writes_labels_and_what_is_known_of_them(tmp_path, cohort_file):
    """Two channels with a protein tell two kinds of cells apart; the third channel is noise."""
    cells = {"file": "c.csv", "tissue": "{t}", "cell": "c", "labels": {"kind": "k"}}
    path = cohort_file(cells={**cells, "reannotate": SETTINGS | {"verified": "v.csv"}})
    rng, rows = np.random.default_rng(1), []
    mask = np.kron(np.arange(1, 37).reshape(6, 6), np.ones((4, 4), int))
    for tissue in ("a", "b", "c"):
        kinds = rng.integers(2, size=37)
        image = rng.poisson(1, (3, 24, 24)).astype(np.float32)
        image[:2] += rng.poisson(8, (2, 24, 24)) * np.stack([kinds[mask] == 0, kinds[mask] == 1])
        write_ome_zarr(tmp_path / f"images/{tissue}.ome.zarr", image, ["A", "B", "DNA"])
        write_mask(tmp_path / f"cell_masks/{tissue}.npz", mask)
        labels = kinds if tissue != "c" else 1 - kinds  # every label of the third image is wrong
        rows += [(tissue, i, f"k{labels[i]}", f"k{kinds[i]}") for i in range(1, 37)]
    table = pd.DataFrame(rows, columns=["tissue_id", "cell_id", "kind", "truth"])
    table.drop(columns="truth").to_parquet(tmp_path / "cells.parquet")
    tissues = pd.DataFrame({"tissue_id": ["a", "b", "c"], "patient_id": ["p", "q", "r"]})
    tissues.to_parquet(tmp_path / "tissues.parquet")
    channels = pd.DataFrame({"uniprot_id": ["P1", "P2", None]})
    channels.to_parquet(tmp_path / "channels.parquet")
    (tmp_path / "v.csv").write_text("tissue_id\na\nb\n")
    names = {name: tmp_path / f"{name}.parquet" for name in ("tissues", "cells", "channels")}
    names |= {name: tmp_path / name for name in ("images", "cell_masks")}
    output = SimpleNamespace(cells=tmp_path / "new.parquet", summary=tmp_path / "new.json")
    files = SimpleNamespace(cohort=str(path), verified=tmp_path / "v.csv", **names)
    rule.main(SimpleNamespace(input=files, output=output, threads=1))
    found = pd.read_parquet(output.cells)
    assert (found["kind"].to_numpy() == table["truth"].to_numpy()).mean() == 1
    facts = json.loads(output.summary.read_text())
    assert facts["verified_images"] == 2 and facts["features"] == 2
    assert facts["kind"]["changed_share"] == 1.0
