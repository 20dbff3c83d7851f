"""The fifteen cohort files against the data sheets, the marker table and the guide to the data."""

import re

import pandas as pd
import pytest

from workflow_scripts.cohorts.readers.panel import metal_tag, plain
from workflow_scripts.common.cohort import ROOT, absent_reason, load_cohort
from workflow_scripts.common.errors import InputError

COHORTS = sorted(path.stem for path in (ROOT / "cohorts").glob("*.yaml"))
# In the paper's Data availability, and Meyer 2025 beside the fourteen of the pretraining.
STUDY = (
    "allam2022 cords2023 cords2024 damond2019 danenberg2022 hoch2022 hu2023 immucan2024 "
    "jackson2020 meyer2025 moldoveanu2022 rigamonti schulz2018 wang2023 zhu2025"
).split()
# channels, of which with an accession, as the sheets count them
PANELS = {
    "allam2022": (26, 24),
    "cords2024": (43, 40),
    "damond2019": (38, 36),
    "danenberg2022": (39, 37),
    "hoch2022": (41, 38),
    "immucan2024": (40, 38),
    "jackson2020": (39, 37),
    "meyer2025": (39, 37),
    "moldoveanu2022": (38, 35),
    "wang2023": (46, 43),
    "zhu2025": (36, 34),
}
WITHOUT_NUCLEAR = {"rigamonti"}  # nothing is known of one
SECOND_PANEL = {"P25025", "P16671", "O75030"}  # measured by the panel of Hoch that is not read


@pytest.fixture(scope="module")
def markers():
    return pd.read_csv(ROOT / "resources/markers.csv", keep_default_na=False, dtype=str)


def accessions(cohort):
    return [row["uniprot"] for row in cohort.channels if "uniprot" in row]


def test_all_cohorts_of_the_study_are_there():
    assert COHORTS == STUDY
    assert [name for name in STUDY if load_cohort(name).held_out] == ["meyer2025"]
    by_access = {name: load_cohort(name).access for name in STUDY}
    assert {n: a for n, a in by_access.items() if a != "open"} == {
        "rigamonti": "request",
        "wang2023": "request",
        "zhu2025": "login",
    }


@pytest.mark.parametrize("name", STUDY)
def test_panel_is_sane(name):
    cohort = load_cohort(name)
    rows = cohort.channels
    metals = [metal_tag(row["channel"]) for row in rows if "channel" in row]
    assert len(metals) == len(set(metals))
    names = [row.get("marker") or row["channel"] for row in rows]
    assert len(names) == len(set(names))
    # A name that meant two channels would give one of them the other's accession.
    spelt = [
        plain(spelling)
        for row in rows
        if "channel" not in row or not re.fullmatch(r"[A-Z][a-z]?\d+", row["channel"])
        for spelling in {plain(n) for n in (row.get("channel"), row.get("marker"),
                                            *row.get("aliases", [])) if n}
    ]  # fmt: skip
    assert len(spelt) == len(set(spelt))
    assert any(row.get("nuclear") for row in rows) != (name in WITHOUT_NUCLEAR)
    for row in rows:
        assert "uniprot" in row or "note" in row, f"{row}: nothing says why it has no accession"


@pytest.mark.parametrize("name", PANELS)
def test_panels_have_as_many_channels_as_the_sheets_say(name):
    cohort = load_cohort(name)
    assert (len(cohort.channels), len(accessions(cohort))) == PANELS[name]


def test_every_accession_is_in_the_marker_table_and_back(markers):
    used = {accession for name in STUDY for accession in accessions(load_cohort(name))}
    table = set(markers["uniprot"]) - {""}
    assert used <= table
    assert table - used == SECOND_PANEL
    assert len(table) == 150


def test_names_and_accessions_agree_with_the_marker_table(markers):
    table = {}
    for row in markers.itertuples():
        for name in (row.marker, *row.aliases.split(";")):
            table[plain(name)] = row.uniprot
    checked = 0
    for name in STUDY:
        for row in load_cohort(name).channels:
            known = table.get(plain(row.get("marker") or row["channel"]))
            if known is not None:
                checked += 1
                assert row.get("uniprot", "") == known, (name, row)
    assert checked > 350


@pytest.mark.parametrize("name", STUDY)
def test_accessions_are_those_of_the_data_sheets(name, shared):
    sheet = pd.read_csv(shared("datasets/_markers.csv"), keep_default_na=False, dtype=str)
    mine = sheet["datasets"].str.split(";").map(lambda ids: any(name in one for one in ids))
    sheet = set(sheet[mine]["uniprot"]) - {""}
    ours = set(accessions(load_cohort(name)))
    if name == "hoch2022":
        assert ours < sheet  # one of the two panels
    else:
        assert ours == sheet


def test_cords2024_has_the_accessions_of_the_authors(shared):
    """In the order of mass, which is theirs; their names of the channels differ."""
    published = pd.read_parquet(shared("real/cords2024/channels.parquet"))
    ours = [row.get("uniprot") for row in load_cohort("cords2024").panel]
    theirs = [None if pd.isna(one) else one for one in published["uniprot_id"]]
    assert ours == theirs


def test_what_a_person_must_place_is_named(tmp_path):
    said = {name: absent_reason(load_cohort(name), tmp_path) for name in STUDY}
    assert {name for name, reason in said.items() if reason} == {"rigamonti", "wang2023", "zhu2025"}
    assert "behind a login" in said["zhu2025"] and "img.zip, masks_deepcell.zip" in said["zhu2025"]
    assert "on request" in said["wang2023"] and "NTPublic.zip" in said["wang2023"]


@pytest.mark.parametrize("name", STUDY)
def test_every_map_and_task_says_where_it_comes_from(name):
    cohort = load_cohort(name)
    words = re.compile(r"stated|second-hand|inferred|seen in code", re.IGNORECASE)
    for mapping in (cohort.cells or {}).get("maps", {}).values():
        assert words.search(mapping["provenance"])
        members = [label for labels in mapping["to"].values() for label in labels]
        assert len(members) == len(set(members))
    for task in cohort.tasks.values():
        assert words.search(task["provenance"])


def test_tasks_of_the_study_have_a_cohort():
    """Results and Methods, tissue-level tasks, survival and response."""
    tasks = {name: set(load_cohort(name).tasks) for name in STUDY}
    assert tasks["cords2024"] >= {"subtype", "relapse", "grade", "lymph_node_metastasis"}
    assert tasks["danenberg2022"] == {"erbb2", "er", "pam50", "grade", "survival"}
    times = ("pre", "on", "post")
    assert tasks["wang2023"] == {"response", *(f"response_{time}_treatment" for time in times)}
    assert tasks["meyer2025"] >= {"disease_free_survival", "published_risk", "immune_phenotype"}
    classes = load_cohort("danenberg2022").tasks
    assert [len(classes[name]["classes"]) for name in ("erbb2", "er", "pam50", "grade")] == [
        2,
        2,
        5,
        3,
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"tasks": {"grade": {"column": "Grad", "provenance": "x"}}},
            "key 'tasks.grade.column' is 'Grad', which no clinical table brings; did you mean 'Gr",
        ),
        (
            {"tasks": {"os": {"column": "Grade", "time": "Grade", "provenance": "x"}}},
            "key 'tasks.os' has a time and no unit; add `unit`",
        ),
        (
            {"units": {"months": "months"}},
            "key 'units.months' is 'months', which no clinical table",
        ),
        ({"tasks": {"g": {"column": "Grade"}}}, "missing key 'tasks.g.provenance'; add it"),
    ],
)
def test_faults_of_tasks_are_told(cohort, changes, sentence):
    clinical = [{"file": "c.csv", "by": {"patient": "p"}, "columns": ["Grade"]}]
    with pytest.raises(InputError, match=re.escape(sentence)):
        cohort(clinical=clinical, **changes)
