from pathlib import Path

import pandas as pd
import pytest

from workflow_scripts.common.accession import ACCESSION
from workflow_scripts.common.marker_names import read_aliases
from workflow_scripts.common.validation import read_yaml

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "resources" / "markers.csv"
COHORT_FILES = [*sorted(ROOT.glob("cohorts/*.yaml")), *sorted(ROOT.glob("demo/cohorts/*.yaml"))]
COLUMNS = ["marker", "uniprot", "gene", "kind", "aliases", "confidence", "provenance"]


@pytest.fixture(scope="module")
def markers():
    return pd.read_csv(TABLE, keep_default_na=False, dtype=str)


def test_columns_and_vocabulary(markers):
    assert list(markers.columns) == COLUMNS
    assert set(markers["kind"]) == {"protein", "ptm", "mrna", "complex", "nucleic", "none"}
    assert set(markers["confidence"]) == {"authors", "code", "recalled", "none"}
    assert (markers == markers.apply(lambda column: column.str.strip())).all(axis=None)
    assert markers["provenance"].str.match(r"panels of [a-z]+\d{4}\b").all()


def test_accessions(markers):
    named = markers[markers["uniprot"] != ""]
    assert named["uniprot"].map(lambda a: bool(ACCESSION.fullmatch(a))).all()
    assert (named["gene"] != "").all()
    unnamed = markers[markers["uniprot"] == ""]
    assert set(unnamed["kind"]) == {"none", "nucleic"}
    assert set(unnamed["gene"]) == {""}
    assert set(unnamed["confidence"]) == {"none"}


def test_one_gene_per_accession(markers):
    canonical = markers["uniprot"].str.split("-").str[0]
    genes = markers.groupby(canonical)["gene"].nunique()
    assert (genes == 1).all(), genes[genes > 1]


def test_names_lead_to_one_marker(markers):
    names = pd.concat([markers["marker"], markers["aliases"].str.split(";").explode()])
    names = names[names != ""].str.lower()
    owners = names.groupby(names).apply(lambda same: same.index.nunique())
    assert (owners == 1).all(), owners[owners > 1]
    assert markers["marker"].str.lower().is_unique


@pytest.mark.parametrize("path", COHORT_FILES, ids=lambda path: path.stem)
def test_every_marker_of_every_panel_is_listed(path):
    # A name that is not listed counts as a marker of its own in Fig. 1b.
    panel, known = read_yaml(path)["panel"], read_aliases()
    rows = panel if isinstance(panel, list) else panel["rows"]
    named = {row.get("marker", row.get("channel")): row.get("uniprot") for row in rows}
    named = {marker: accession for marker, accession in named.items() if accession}
    assert named
    assert named == {m: known.get(m.lower(), {}).get("uniprot") for m in named}


def test_sorted_by_marker(markers):
    assert markers["marker"].str.lower().is_monotonic_increasing


def test_agrees_with_the_published_panel(markers, shared):
    published = pd.read_parquet(shared("real/cords2024/channels.parquet"))
    published = published[published["uniprot_id"].notna()]
    accessions = dict(zip(markers["marker"].str.lower(), markers["uniprot"], strict=True))
    for row in markers.itertuples():
        accessions |= {a.lower(): row.uniprot for a in row.aliases.split(";") if a}
    known = [n for n in published["original_channel_name"] if n.lower() in accessions]
    assert len(known) >= 30
    table = published.set_index("original_channel_name")["uniprot_id"]
    assert {n: accessions[n.lower()] for n in known} == {n: table[n] for n in known}


def test_accession_pattern():
    good = ["P04637", "Q8TDQ0", "A0A024RBG1", "P08575-8", "O00585", "A2BC19"]
    bad = ["p04637", "P0463", "P046377", "CD45", "P04637-", "P04637-x", "../P04637", "P04637\n"]
    assert all(ACCESSION.fullmatch(accession) for accession in good)
    assert not any(ACCESSION.fullmatch(accession) for accession in bad)
