"""Composition and neighbours: tests against their libraries, pooled and over patients (T10)."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportions_ztest

from workflow_scripts.biomarkers import composition, enrichment
from workflow_scripts.biomarkers import neighbours as nb
from workflow_scripts.biomarkers.fig5g import CLAIMS, example, summarise
from workflow_scripts.biomarkers.selection import NAMES
from workflow_scripts.common.errors import InputError

COMMON = {"seeds": [0], "weights": "w"}


def test_z_test_and_adjustment_are_statsmodels():
    inside, outside = np.array([30, 50, 20]), np.array([100, 400, 500])
    ours = enrichment.two_proportions_p(inside, outside)
    for place in range(3):
        theirs = proportions_ztest([inside[place], outside[place]], [100, 1000])[1]
        assert ours[place] == pytest.approx(theirs, rel=1e-10)
    p = np.array([0.01, np.nan, 0.04, 0.03])
    expected = multipletests(p[[0, 2, 3]], method="fdr_bh")[1]
    assert enrichment.adjusted(p)[[0, 2, 3]] == pytest.approx(expected)
    assert np.isnan(enrichment.adjusted(p)[1])


def test_relative_change_is_in_percent():
    changes = enrichment.relative_change([0.4, 0.0, 0.1], [0.1, 0.2, 0.0])
    assert changes[:2] == pytest.approx([300, -100]) and np.isnan(changes[2])


def test_one_patient_makes_a_pooled_test_and_no_paired_one():
    rng = np.random.default_rng(0)
    inside = rng.multinomial(40, [0.3, 0.7], 20)
    outside = rng.multinomial(40, [0.3, 0.7], 20)
    inside[0] = [2500, 500]
    assert enrichment.two_proportions_p(inside.sum(0), outside.sum(0))[0] < 1e-6
    assert enrichment.paired_p(inside, outside)[0] > 0.05


def test_a_shift_in_every_patient_is_found_and_none_is_not():
    rng = np.random.default_rng(1)
    outside = rng.multinomial(60, [0.2, 0.3, 0.5], 30)
    inside = rng.multinomial(60, [0.5, 0.2, 0.3], 30)
    assert (enrichment.paired_p(inside, outside) < 0.01).all()
    same = [
        enrichment.paired_p(
            rng.multinomial(60, [0.2, 0.8], 30), rng.multinomial(60, [0.2, 0.8], 30)
        )[0]
        for _ in range(20)
    ]
    assert np.mean(np.array(same) < 0.05) <= 0.2


def test_patients_with_one_side_are_in_no_pair():
    inside, outside = np.array([[3, 1], [0, 0]]), np.array([[1, 3], [2, 2]])
    assert enrichment.paired_p(inside, outside) == pytest.approx([1.0, 1.0])
    assert np.isnan(enrichment.paired_p(inside[1:], outside[1:])).all()
    assert enrichment.paired_p(inside[:1], inside[:1]) == pytest.approx([1.0, 1.0])


@pytest.fixture
def cells():
    """Sixteen patients; RS1 is rich in apoptotic cells, NRS1 and NRS2 are of tumour cells alone."""
    rng = np.random.default_rng(0)
    kinds = np.array(["apoptotic cell", "tumor", "CD4 T cell", "fibroblasts"], object)
    table = pd.DataFrame(
        {
            "patient_id": [f"p{i % 16}" for i in range(2000)],
            "tissue_id": [f"t{i % 16}" for i in range(2000)],
            "cell_id": np.arange(2000),
            "label": rng.choice(kinds, 2000, p=[0.1, 0.4, 0.3, 0.2]),
            "x": rng.uniform(0, 200, 2000),
            "y": rng.uniform(0, 200, 2000),
        }
    )
    for name in NAMES:
        table[name] = False
    rich = (table["label"] == "apoptotic cell") & (rng.random(2000) < 0.8)
    table["RS1"] = rich | (rng.random(2000) < 0.05)
    for name in ("NRS1", "NRS2"):
        table[name] = (table["label"] == "tumor") & (rng.random(2000) < 0.5)
    return table


def test_composition_counts_cells_and_carries_the_statements(cells):
    cells.loc[0, "label"] = None
    table = composition.measure(cells, repeats=50, seed=0)
    row = table[(table["signature"] == "RS1") & (table["cell_type"] == "apoptotic cell")].iloc[0]
    known = cells[cells["label"].notna()]
    share = (known.loc[known["RS1"], "label"] == "apoptotic cell").mean()
    overall = (known["label"] == "apoptotic cell").mean()
    assert row["change_percent"] == pytest.approx(100 * (share / overall - 1))
    assert row["low"] < row["change_percent"] < row["high"] and row["adjusted_p"] < 0.05
    claims = [*composition.CLAIMS, composition.DOMINANT]
    numbers = composition.summarise(table, claims, ["tumor"], COMMON)
    assert numbers["C080"]["value"] == pytest.approx(row["change_percent"])
    assert numbers["C080"]["careful"]["value"] == pytest.approx(row["adjusted_p"])
    assert numbers["C080"]["n"] == 16
    assert numbers["C152"]["value"] == 1
    assert numbers["C088"]["value"] == -100
    assert numbers["C081"]["status"] == (
        "not run: no pre-treatment cell has the type DNA-damaged cell"
    )
    mixed = composition.summarise(table, claims, ["fibroblasts"], COMMON)["C152"]
    assert mixed["value"] == 0 and mixed["reason"] == "not depleted in one of them: tumor"
    for figure in (composition.draw_shares(table), composition.draw_changes(table)):
        figure.canvas.draw()


def test_a_signature_without_a_cell_has_no_composition(cells):
    table = composition.measure(cells, repeats=5, seed=0)
    rows = table[table["signature"] == "RS2"]
    assert rows["share"].isna().all() and (rows["patients"] == 0).all()


def test_neighbours_are_within_the_radius_and_in_one_tissue(cells):
    few = cells.iloc[:300]
    pairs = nb.pairs_within(few, 20)
    places = few[["x", "y"]].to_numpy()
    near = np.linalg.norm(places[:, None] - places, axis=2) <= 20
    near &= few["tissue_id"].to_numpy()[:, None] == few["tissue_id"].to_numpy()
    np.fill_diagonal(near, False)
    assert {tuple(pair) for pair in pairs.tolist()} == set(zip(*np.nonzero(near), strict=True))
    assert len(pairs) == near.sum()


def test_a_cohorts_own_neighbours_are_read(tmp_path, cells):
    path = tmp_path / "neighbours.csv"
    rows = [("t0", 0, 16), ("t0", 16, 0), ("t1", 1, 17), ("t1", 1, 99999)]
    table = pd.DataFrame(rows, columns=["ImageID", "from", "to"])
    table.to_csv(path, index=False)
    pairs, who = nb.find_pairs(cells, path, 20)
    assert pairs.tolist() == [[0, 16], [1, 17], [16, 0], [17, 1]]
    assert who == "neighbours as the cohort lists them (D15)"
    shipped = tmp_path / "neighbours.parquet"  # as ingest writes it
    table.rename(columns={"ImageID": "tissue_id"}).to_parquet(shipped)
    assert nb.find_pairs(cells, shipped, 20)[0].tolist() == pairs.tolist()


def test_without_neighbours_of_its_own_the_radius_counts(tmp_path, cells):
    path = tmp_path / "neighbours.parquet"
    pd.DataFrame({"tissue_id": [], "from": [], "to": []}).to_parquet(path)
    few = cells.iloc[:300]
    for none in (None, path):
        pairs, who = nb.find_pairs(few, none, 20)
        assert pairs.tolist() == nb.pairs_within(few, 20).tolist()
        assert who == "centroids within 20 um (D15)"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "ImageID,cell\n1,2\n",
            "expected three columns, the tissue, 'from' and 'to', found ImageID, cell; write them "
            "in this order",
        ),
        (
            "ImageID,from,to\nt0,5001,5002\n",
            "none of its 1 pairs is between two of the 2000 cells, expected their numbers, such as "
            "0 of tissue t0; correct it, or set biomarkers.surroundings.graph: null",
        ),
    ],
)
def test_neighbours_that_fit_no_cell_are_told(tmp_path, cells, text, sentence):
    path = tmp_path / "neighbours.csv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        nb.find_pairs(cells, path, 20)
    assert str(error.value) == f"{path}: {sentence}"


def test_planted_neighbours_are_found_inside_the_signature(cells):
    """Every apoptotic cell of RS1 gets a CD4 T cell beside it."""
    inside = cells[cells["RS1"] & (cells["label"] == "apoptotic cell")]
    beside = inside.assign(label="CD4 T cell", RS1=False, cell_id=inside["cell_id"] + 5000)
    beside = beside.assign(x=inside["x"] + 1)
    table = pd.concat([cells, beside], ignore_index=True)
    pairs = nb.pairs_within(table, 5)
    found = nb.compare(table, pairs, "RS1", "apoptotic cell", 2, repeats=50, seed=0)
    row = found.set_index("neighbour").loc["CD4 T cell"]
    assert row["share_inside"] > 0.55
    assert row["z_test_p"] < 0.01 and row["change_percent"] > 20
    assert found["shown"].sum() == 2 and row["shown"]
    nothing = nb.compare(
        table.assign(RS1=np.random.default_rng(0).permutation(table["RS1"])),
        pairs, "RS1", "tumor", 5, repeats=20, seed=0,
    )  # fmt: skip
    assert (nothing["adjusted_p"] > 0.01).all()


def test_numbers_of_neighbours_say_what_is_missing(cells):
    pairs = nb.pairs_within(cells, 20)
    panels = (("RS1", "apoptotic cell"), ("RS2", "CD4 T cell"), ("RS1", "B / plasma cell"))
    table = pd.concat([nb.compare(cells, pairs, *panel, 5, 20, 0) for panel in panels])
    numbers = summarise(table, COMMON, "centroids within 20 um (D15)")
    assert numbers["C090"]["reason"].endswith("; centroids within 20 um (D15)")
    assert set(CLAIMS) | {"C153"} <= set(numbers)
    assert np.isfinite(numbers["C090"]["value"])
    assert numbers["C091"]["status"] == (
        "not run: no pre-treatment cell has the type PD-L1+GZMB+ cell"
    )
    assert numbers["C094"]["status"] == (
        "not run: no CD4 T cell of RS2 or none outside it has a neighbour to compare with"
    )
    assert numbers["C153"]["status"].startswith("not run: ")
    for change, contrary in ((40, False), (-40, True)):
        rows = [
            dict(zip(("signature", "cell_type", "neighbour"), CLAIMS[c], strict=True))
            for c in ("C090", "C091")
        ]
        fewer = table.iloc[[0, 0]].assign(change_percent=change, z_test_p=1e-9)
        fewer[["signature", "cell_type", "neighbour"]] = pd.DataFrame(rows).to_numpy()
        assert summarise(fewer, COMMON, "")["C153"]["contrary"] == contrary


def test_an_example_is_the_tissue_of_median_number(cells):
    own = cells[cells["RS1"] & (cells["label"] == "apoptotic cell")]
    counts = own["tissue_id"].value_counts()
    tissue, centre = example(cells, "RS1", "apoptotic cell", 50)
    assert sorted(counts)[len(counts) // 2] == counts[tissue]
    assert (own.loc[own["tissue_id"] == tissue, ["x", "y"]].to_numpy() == centre).all(1).any()
    assert example(cells, "RS2", "tumor", 50) is None
