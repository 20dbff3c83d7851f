"""The pure parts of the rules of an own cohort."""

from types import SimpleNamespace

import numpy as np
import ot
import pandas as pd
import pytest

from tests.own_study import MINE, REFERENCE
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.marker_names import read_aliases
from workflow_scripts.common.matching import central_grid, wasserstein
from workflow_scripts.own import compare
from workflow_scripts.own.compare import similar
from workflow_scripts.own.embed_references import draw
from workflow_scripts.own.list_markers import marker_table, resolve_stains
from workflow_scripts.own.own_page import panel_rows, record
from workflow_scripts.own.pictures import as_data, composite, lineage_channels
from workflow_scripts.own.stain_markers import (
    choose_crops,
    hidden_scores,
    hide_each,
    judged,
    predict,
)
from workflow_scripts.retrieval.distances import wasserstein_matrix


def test_stains_are_named_by_marker_alias_gene_or_accession():
    found = resolve_stains(["foxp3", "PDCD1", "GrzB", "Q9Y6K9"], read_aliases(), "mine.yaml")
    assert found == {"Q9BZS1": "FOXP3", "Q15116": "PD-1", "P10144": "GZMB", "Q9Y6K9": "Q9Y6K9"}
    with pytest.raises(InputError, match="mine.yaml: own.stain: no accession is known of 'Foxx'"):
        resolve_stains(["Foxx"], read_aliases(), "mine.yaml")


def test_what_is_measured_is_not_predicted():
    table = marker_table(
        {"P07766": "my CD3", "Q1": "odd"}, {"P07766": "CD3", "P62736": "SMA"},
        {"P07766": "CD3", "P62736": "SMA", "Q9BZS1": "FOXP3"},
    ).set_index("uniprot_id")  # fmt: skip
    assert table.index[table["stain"]].tolist() == ["P62736", "Q9BZS1"]
    assert table.index[table["measured"]].tolist() == ["P07766", "Q1"]
    assert table.loc["P07766", "marker"] == "my CD3" and bool(table["qc_pass"].all())


class Recorder:
    """A model that returns what it is told, and remembers what it was shown."""

    model = SimpleNamespace(config=SimpleNamespace(patch=8))

    def __init__(self):
        self.masks = []

    def reconstruct(self, crops, accessions, masks):
        self.masks += [np.asarray(mask) for mask in masks]
        return np.stack(crops) + 1


def test_each_protein_is_hidden_whole_with_all_its_channels():
    crop = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)
    model = Recorder()
    sums = hide_each(model, crop, ["A", "B", "A"], 2)
    assert list(sums) == ["A", "B"]
    assert [mask[:, 0, 0].tolist() for mask in model.masks] == [
        [True, False, True], [False, True, False],
    ]  # fmt: skip
    assert all((mask == mask[:, :1, :1]).all() for mask in model.masks)
    n, truth, guess = sums["B"][:3]
    assert n == 256 and guess - truth == pytest.approx(256, rel=1e-4)


def test_crops_are_spread_over_tissues():
    tissue = lambda name, side: SimpleNamespace(  # noqa: E731
        id=name, tissue_mask=lambda: np.ones((side, side), bool)
    )
    tissues = [tissue("a", 64), tissue("b", 32), tissue("c", 16), tissue("d", 8)]
    chosen = choose_crops(tissues, 16, 0.5, 7, 0)
    assert {name: len(places) for name, places in chosen.items()} == {"a": 3, "b": 3, "c": 1}
    assert chosen == choose_crops(tissues, 16, 0.5, 7, 0) != choose_crops(tissues, 16, 0.5, 7, 1)


def opened(own):
    settings = {"crop": 32, "stride": 16, "batch": 4, "patch": 8}
    embeddings = own / "markers/embeddings.safetensors"
    return open_embedder("given", own / "models/given", embeddings, settings, "cpu")


def test_markers_predicted_together_are_those_predicted_alone(own):
    model, panel = opened(own), [a for a in MINE.values() if a]
    image = np.random.default_rng(0).normal(size=(len(panel), 48, 40)).astype(np.float32)
    both = predict(model, image, panel, ["Q9BZS1", "Q15116"], 32, 4)
    assert both.shape == (2, 48, 40) and np.isfinite(both).all()
    for place, accession in enumerate(["Q9BZS1", "Q15116"]):
        alone = predict(model, image, panel, [accession], 32, 3)
        np.testing.assert_allclose(both[place], alone[0], atol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 1e-4  # the sequence is what tells them apart
    # A marker that no cohort of the training measures is read and predicted, too.
    assert set(MINE.values()) - set(REFERENCE.values()) - {None} <= set(model.marker_ids)


def test_the_table_of_markers_says_distance_and_verdict(own):
    table = pd.read_parquet(own / "markers.parquet").set_index("uniprot_id")
    assert table.loc["P16284", "distance"] > 0 and table.loc["P07766", "distance"] == 0
    measured = table[table["measured"]]
    assert measured["error"].notna().all() and len(measured) == 6
    stains = table[table["stain"]]
    assert sorted(stains["marker"]) == ["FOXP3", "PD-1"]
    # Weights as they were drawn predict nothing, and the page says so.
    assert not stains["trusted"].astype(bool).any() and (stains["reason"] != "").all()
    assert (stains["bound"] >= stains["expected"]).all()


def test_a_distance_of_sets_is_that_of_pot():
    rng = np.random.default_rng(0)
    sets = rng.normal(size=(3, 9, 5))
    for first in range(3):
        for second in range(3):
            exact = np.sqrt(ot.emd2([], [], ot.dist(sets[first], sets[second])))
            assert wasserstein(sets[first], sets[second]) == pytest.approx(exact, abs=1e-6)
    assert wasserstein_matrix(sets)[0, 1] == pytest.approx(wasserstein(sets[0], sets[1]))


def test_the_centre_is_as_large_as_a_tissue_allows():
    assert central_grid(64, 64, 32, 3) is None
    assert central_grid(72, 80, 32, 2).tolist() == [[4, 8], [4, 40], [36, 8], [36, 40]]


def test_the_most_similar_tissues_are_found_and_not_those_of_the_patient(tmp_path):
    rng = np.random.default_rng(0)
    mine = {f"m{i} 2": rng.normal(3 * i, 1, (4, 6)) for i in range(3)} | {"m0 1": np.ones((1, 6))}
    theirs = {f"r{i} 2": mine[f"m{i} 2"] + rng.normal(0, 0.1, (4, 6)) for i in range(3)}
    np.savez(tmp_path / "own.npz", **mine)
    np.savez(tmp_path / "reference.npz", **theirs)
    tissues = pd.DataFrame({"tissue_id": ["m0", "m1", "m2", "m3"], "patient_id": list("abcd")})
    others = pd.DataFrame({"tissue_id": ["r0", "r1", "r2"], "patient_id": list("xbz")})
    cases, facts = similar(tmp_path, tissues, others, 2, same_cohort=False)
    assert cases[cases["rank"] == 1]["match"].tolist() == ["r0", "r1", "r2"]
    assert (
        facts["small"] == 1 and (cases.groupby("tissue_id")["distance"].diff().dropna() > 0).all()
    )
    within, _ = similar(tmp_path, tissues, others, 2, same_cohort=True)
    assert "r1" not in within[within["tissue_id"] == "m1"]["match"].tolist()


def test_types_and_cases_of_the_whole_run(own):
    types, cases = (pd.read_parquet(own / f"{t}.parquet") for t in ("types", "cases"))
    assert set(types["tissue_id"]) == {"p0_1", "p1_1", "p2_1"}
    assert cases.groupby("tissue_id").size().tolist() == [3, 3, 3]
    assert cases["distance"].gt(0).all()
    page = (own / "index.html").read_text()
    assert "subtype a" in page and "macro F1" in page


def test_reference_tissues_are_drawn_in_order():
    assert draw(list("abcdef"), 3, 0) == draw(list("abcdef"), 3, 0) == sorted(draw("abcdef", 3, 0))
    assert draw(list("ab"), 9, 0) == ["a", "b"]


def test_pictures_show_three_lineages_with_a_scale_bar():
    assert lineage_channels(["X", "P07766", "P05787", "P62736"]) == [2, 1, 3]
    assert lineage_channels(["X", "Y"]) == [0, 1]
    picture = composite(np.random.default_rng(0).random((3, 40, 900)))
    assert picture.shape == (40, 900, 3) and 0 <= picture.min() and picture.max() <= 1
    data, width, length = as_data(picture)
    assert data.startswith("data:image/png;base64,") and width == 300 and length == 200


def test_a_case_shows_its_record_and_the_panel_its_scores():
    tasks = {"relapse": {"column": "Relapse"}, "grade": {"column": "G"}, "other": {"column": "no"}}
    row = pd.Series({"Relapse": None, "G": 2.0})
    assert record(row, tasks) == [("relapse", "not recorded"), ("grade", "2")]
    panel = pd.DataFrame({"channel": list("abcd"), "uniprot_id": ["P1", "", "P2", "P3"]})
    panel = panel.assign(model="known", remark="")
    scores = ["distance", "r", "error", "low", "high"]
    markers = pd.DataFrame({"uniprot_id": ["P1", "P3"]} | {name: [0.5, np.nan] for name in scores})
    first, second, third, fourth = panel_rows(panel, markers)
    assert first["r"] == 0.5 and first["remark"] == "" and second["r"] is None
    assert (third["model"], third["remark"]) == ("left out", "no embedding of its protein")
    assert fourth["model"] == "known" and fourth["remark"].startswith("no score: constant")


class Near(Recorder):
    """A model that knows every hidden marker but for a little noise."""

    def usable(self, accessions):
        return list(range(len(accessions))), ""

    def reconstruct(self, crops, accessions, masks):
        rng = np.random.default_rng(0)
        return np.stack(crops) + rng.normal(0, 0.3, np.shape(crops)).astype(np.float32)


@pytest.fixture
def tissues():
    """Three tissues of six proteins."""
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(6, 32, 32)).astype(np.float32) for _ in range(3)]
    return [
        SimpleNamespace(
            id=f"t{n}",
            patient_id=f"p{n}",
            accessions=list("ABCDEF"),
            image=lambda positions, image=image: image[positions],
            tissue_mask=lambda: np.ones((32, 32), bool),
        )
        for n, image in enumerate(images)
    ]


def test_a_model_that_is_right_is_trusted_within_what_was_measured(tissues):
    settings = {"crop": 16, "batch": 4}
    sums = hidden_scores(Near(), tissues, settings, 0.0, 6, 0)
    assert len(sums) == 18 and (sums["n"] == 512).all()
    markers = marker_table({a: a for a in "ABCDEF"}, {a: a for a in "ABCDX"}, {a: a for a in "XYZ"})
    # E and F are new and 0.1 away from what was trained; X was trained, Y is as near, Z is not.
    angles = {**dict.fromkeys("ABCDX", 0.0), "E": 0.45, "F": 0.45, "Y": 0.3, "Z": 1.5}
    vectors = np.array([[np.cos(a), np.sin(a)] for a in angles.values()])
    table = judged(markers, vectors, list(angles), sums, 0.8, 0).set_index("marker")
    assert table.loc[list("ABCDEF"), "error"].to_numpy(float) == pytest.approx(0.3, abs=0.05)
    assert table.loc["E", "distance"] == pytest.approx(1 - np.cos(0.45))
    assert table.loc[["X", "Y", "Z"], "trusted"].tolist() == [True, True, False]
    assert "further from the trained markers" in table.loc["Z", "reason"]
    low, high = table.loc["A", ["low", "high"]].astype(float)
    assert low < table.loc["A", "error"] < high


def test_without_any_embedding_of_a_stain_none_is_judged(tissues):
    sums = hidden_scores(Near(), tissues, {"crop": 16, "batch": 4}, 0.0, 6, 0)
    markers = marker_table({a: a for a in "ABCDEF"}, {"A": "A"}, {"X": "X"})
    table = judged(markers, np.eye(6), list("ABCDEF"), sums, 0.8, 0)
    assert not table["stain"].any()


class Blocks:
    """A token array that refuses to be read as a whole."""

    def __init__(self, array, most):
        self.array, self.shape, self.most = array, array.shape, most

    def __getitem__(self, rows):
        block = self.array[rows]
        assert len(block) <= self.most
        return block


def test_cells_are_typed_block_by_block_as_all_at_once(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    truth = np.array(["A", "B", None], dtype=object)[rng.integers(0, 3, 90)]
    shift = np.where(truth == "A", 3, 0)[:, None]
    arrays = {"own": rng.normal(size=(40, 4)), "reference": rng.normal(size=(90, 4)) + shift}
    arrays = {kind: array.astype("f4") for kind, array in arrays.items()}
    cells = {kind: pd.DataFrame({"cell_id": range(len(a))}) for kind, a in arrays.items()}
    for table in cells.values():
        table["tissue_id"] = np.where(table["cell_id"] % 3, "t", "u")
        table["position"] = table["cell_id"]
    metadata = tmp_path / "lung/metadata"
    metadata.mkdir(parents=True)
    cells["reference"].assign(cell_type=truth).to_parquet(metadata / "cells.parquet")
    tissues = {"tissue_id": ["t", "u"], "patient_id": ["p", "q"], "split": ["train", "test"]}
    pd.DataFrame(tissues).to_parquet(metadata / "tissues.parquet")

    def typed(read, most):
        monkeypatch.setattr("workflow_scripts.common.tokens.READ", read)
        answer = lambda folder, _: (cells[folder.name], Blocks(arrays[folder.name], most))  # noqa: E731
        monkeypatch.setattr(compare, "read_tokens", answer)
        settings = {"trees": 20, "depth": 4}
        return compare.transfer(tmp_path, tmp_path / "lung", "cell_type", settings, 0, 1)

    (table, facts), (whole, same) = typed(7, 7), typed(100, 100)
    pd.testing.assert_frame_equal(table, whole)
    assert facts == same and facts["f1"] > 0.8 and len(table) == 40
