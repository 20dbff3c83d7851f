"""What a panel check says: matched, new, left out, and one sentence per problem."""

import re

import numpy as np
import pandas as pd
import pytest
import tifffile

from workflow_scripts.cohorts.check_panel import (
    as_text,
    check_channels,
    panel_of,
    summary,
    trained_accessions,
)
from workflow_scripts.common.cohort import ROOT, load_cohort
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.marker_names import read_aliases

COHORTS = sorted(path.stem for path in (ROOT / "cohorts").glob("*.yaml"))
ALIASES = {
    "sma": {"marker": "alpha-SMA", "uniprot": "P62736"},
    "cd3": {"marker": "CD3", "uniprot": "P07766"},
    "dna": {"marker": "DNA1", "uniprot": ""},
}


def panel(*rows):
    columns = ["channel_name", "uniprot_id", "is_nuclear_marker", "description"]
    table = pd.DataFrame([(*row, *[None] * (4 - len(row))) for row in rows], columns=columns)
    return table.assign(original_channel_name=[f"metal {i}" for i in range(len(table))])


def check(*rows, trained=("P62736",)):
    table, problems = check_channels(panel(*rows), set(trained), ALIASES)
    return dict(zip(table["marker"], table["model"], strict=True)), table, problems


def test_channels_are_known_new_or_left_out():
    verdicts, table, problems = check(
        ("SMA", "P62736"), ("own marker", "Q99999"), ("DNA", None), ("glycan", None, False, "sugar")
    )
    assert verdicts == {
        "SMA": "known", "own marker": "new", "DNA": "left out", "glycan": "left out",
    }  # fmt: skip
    assert list(table["remark"]) == ["", "", "no protein", "sugar"]
    assert problems == []


def test_one_accession_on_two_channels_is_said_and_legal():
    _, table, problems = check(("HER2 (a)", "P04626"), ("HER2 (b)", "P04626"), ("SMA", "P62736"))
    assert list(table["remark"]) == ["", "shares its accession with HER2 (a)", ""]
    assert problems == []


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([("SMA", "P62736"), ("CD3", None)], "CD3 has no accession and would be left out; resour"),
        ([("SMA", "P62736"), ("CD3", "P01732")], "CD3 has the accession P01732, and resources/m"),
        ([("own", "Q99999")], "No channel has an accession that the model was trained on"),
        ([("DNA", None)], "No channel has an accession that the model was trained on"),
    ],
)
def test_a_problem_is_one_sentence(rows, sentence):
    _, _, problems = check(*rows)
    assert len(problems) == 1 and problems[0].startswith(sentence)


def test_an_isoform_of_the_same_protein_is_no_problem():
    aliases = {"cd45": {"marker": "CD45", "uniprot": "P08575"}}
    _, problems = check_channels(panel(("CD45", "P08575-8")), {"P08575-8"}, aliases)
    assert problems == []


@pytest.mark.parametrize("name", COHORTS)
def test_every_cohort_of_the_study_can_be_checked_without_its_data(name, tmp_path):
    cohort = load_cohort(name)
    channels, origin = panel_of(cohort, tmp_path)
    assert len(channels) == len(cohort.channels) and "data are not here" in origin
    table, problems = check_channels(channels, trained_accessions([cohort]), read_aliases())
    # Its own accessions are known, and none contradicts the table of markers.
    assert problems == []
    assert set(table["model"]) <= {"known", "left out"}
    assert str(len(cohort.channels)) in summary(cohort, table, origin)


def test_a_folder_on_disk_is_compared_with_its_files(cohort, tmp_path):
    one = cohort(
        reader="channel_tiff",
        layout={"images": {"pattern": r"(?P<tissue>p\d_\d)/(?P<channel>[^/]+)\.tiff$"}},
        patient="{no_such_group}",  # of no matter to a panel
        clinical=[{"file": "absent.csv", "by": {"a": "b"}}],
    )
    (tmp_path / "data/p1_1").mkdir()
    for name in "AB":
        tifffile.imwrite(tmp_path / f"data/p1_1/{name}.tiff", np.zeros((4, 4), np.float32))
    channels, origin = panel_of(one, tmp_path)
    assert list(channels["channel_name"]) == ["A", "B"] and "1 images" in origin
    (tmp_path / "data/p1_1/B.tiff").rename(tmp_path / "data/p1_1/C.tiff")
    with pytest.raises(InputError, match="no file for B; not in the panel: C"):
        panel_of(one, tmp_path)


def test_a_retrieved_table_is_read_without_opening_an_image(cohort, tmp_path):
    files = [{"name": name, "size": 1, "md5": "0" * 32, "url": "x"} for name in ("i.zip", "p.csv")]
    one = cohort(
        source={"files": files},
        panel={"file": "p.csv", "channel": "metal", "marker": "name", "uniprot": "protein"},
    )
    with pytest.raises(InputError, match=re.escape("its panel is in p.csv, and its data are not")):
        panel_of(one, tmp_path / "archives")
    folder = tmp_path / "archives/mine"
    folder.mkdir(parents=True)
    (folder / "i.zip").write_text("no zip at all")
    (folder / "p.csv").write_text("metal,name,protein\nNd142,SMA,P62736\nIr191,DNA,\n")
    channels, origin = panel_of(one, tmp_path / "archives")
    assert list(channels["uniprot_id"]) == ["P62736", None] and "compared with the tables" in origin


def test_the_real_steinbock_export_is_compared_with_its_own_panel(shared):
    shared("real/steinbock_mock/panel.csv")
    own = load_cohort(ROOT / "tests/real/cohorts/steinbock_mock.yaml")
    channels, origin = panel_of(own, "nowhere")
    assert len(channels) == 5 and "15 images" in origin


def test_the_table_has_straight_columns():
    lines = as_text(pd.DataFrame({"a": ["x", "long"], "b": ["1", "2"]})).splitlines()
    assert lines == ["a     b", "x     1", "long  2"]
