import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.cohorts.readers import tables
from workflow_scripts.cohorts.readers.files import Files
from workflow_scripts.cohorts.readers.panel import order_panel, read_panel
from workflow_scripts.cohorts.readers.tables import join, keys, read_table, render
from workflow_scripts.cohorts.readers.tissues import describe
from workflow_scripts.common.errors import InputError


@pytest.fixture
def files(cohort, tmp_path):
    """Return the data folder's `Files`; a function of them writes a file first."""
    mine = cohort()

    def write(**contents):
        for name, content in contents.items():
            (tmp_path / "data" / name.replace("_", ".")).write_text(content)
        return Files(tmp_path / "data", mine)

    return write


def test_keys_match_however_a_table_writes_them():
    one = ["1", "2", None]
    for column in (
        [1, 2, None],
        [1.0, 2.0, np.nan],
        ["1", " 2 ", None],
        np.float32([1, 2, np.nan]),
    ):
        assert keys(pd.Series(column)).tolist() == one
    assert keys(pd.Series([True, False])).tolist() == ["true", "false"]
    assert keys(pd.Series(["TRUE", "False", "x"])).tolist() == ["true", "false", "x"]
    assert keys(pd.Series([1.5])).tolist() == ["1.5"]


def test_templates_are_filled_from_columns():
    table = pd.DataFrame({"a": ["x", "y"], "n": [1, 2], "m": ["u", None]})
    assert render("{a}{n}_{n}", table, "t").tolist() == ["x1_1", "y2_2"]
    assert render("{m}-{a}", table, "t").tolist() == ["u-x", None]
    with pytest.raises(InputError, match="t: no column 'aa'; did you mean 'a'. it has: a, n, m."):
        render("{aa}", table, "t")


def test_rows_are_kept_dropped_and_taken_apart(files):
    spec = {
        "file": "a.csv",
        "keep": {"full": [1]},
        "drop": {"bad": [True]},
        "extract": {"id": r"^(?P<core>.+)_(?P<n>\d+)$"},
    }
    found = files(a_csv="id,full,bad,more\nE_1_2,1,FALSE,3\nE_2,0,FALSE,3\nE_3,1,TRUE,3\n")
    table = read_table(found, spec, {"core", "n"})
    assert table[["core", "n"]].to_numpy().tolist() == [["E_1", "2"]]
    assert "more" not in table


def test_a_byte_order_mark_and_other_separators_are_read(files, tmp_path):
    found = files(a_csv="\ufeffid;b\n1;2\n", c_tsv="id\tb\n1\t2\n")
    assert read_table(found, {"file": "a.csv", "separator": ";"}, {"id"})["id"].tolist() == [1]
    assert read_table(found, {"file": "c.tsv"})["b"].tolist() == [2]
    with pytest.raises(InputError, match="no column 'id'; its header is not separated by commas"):
        read_table(found, {"file": "a.csv"}, {"id"})


def test_a_comma_in_the_last_column_shifts_nothing(files, caplog):
    table = read_table(files(a_csv="id,note\n1,a, b\n2,c, d\n"), {"file": "a.csv"})
    assert table["id"].tolist() == [1, 2]
    assert "rows have more fields than the header" in caplog.text


def test_a_table_is_read_in_parts_as_in_one_read(files, monkeypatch):
    # Each column starts as one kind of value and goes on as another, or with none.
    first = "1,1,1,TRUE,TRUE,007,,5,A,z\n"
    later = "2.5,,x,FALSE,1,008,b,18446744073709551615,,z\n"
    header = "float,gap,text,bool,odd,zeros,late,huge,early,left\n"
    found = files(a_csv=header + first * 3 + later * 4, b_csv=header, c_csv=header + first)
    for name in ("a.csv", "b.csv", "c.csv"):
        file = found.find(name)
        for columns in (set(header.strip().split(",")), {"float", "gap", "text", "bool", "odd"}):
            columns -= {"left"}
            monkeypatch.setattr(tables, "ROWS", 3)
            parts = tables._load(file, {}, columns)
            with file.open() as stream:
                one = pd.read_csv(stream, usecols=list(parts), low_memory=False)
            pd.testing.assert_frame_equal(parts, one)


def test_what_is_left_out_of_a_large_table_takes_no_memory(files):
    rows, wide = 200_000, ",".join(["12345678"] * 40)
    table = "a," + ",".join(f"x{n}" for n in range(40)) + "\n" + f"1,{wide}\n" * rows
    found = files(a_csv=table)
    # A process of its own, as the peak of this one may be of another test.
    code = (
        "import resource, sys, types; from pathlib import Path;"
        "from workflow_scripts.cohorts.readers import tables;"
        "from workflow_scripts.cohorts.readers.archives import File;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "before = peak(); file = File('a.csv', '.', Path(sys.argv[1]));"
        "assert len(tables._load(file, {}, {'a'})) == int(sys.argv[2]);"
        "print(peak() - before)"
    )
    path = str(found.find("a.csv").path)
    done = subprocess.run(
        [sys.executable, "-c", code, path, str(rows)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 150_000  # kB; in one read 200,000


def test_joins_are_unique_and_count_what_has_no_match(files):
    left = pd.DataFrame({"slide": ["E", "J", "X"]})
    found = files(d_csv="slide,case,age\nE,61,2.5\nJ,62,3\n", e_csv="slide,case\nE,1\nE,2\n")
    by = {"slide": "slide"}
    joined, missing = join(left, found, {"file": "d.csv", "by": by, "columns": {"who": "case"}})
    assert missing == 1 and list(joined) == ["slide", "who"]
    assert joined["who"].tolist()[:2] == [61, 62] and np.isnan(joined["who"][2])
    assert list(join(left, found, {"file": "d.csv", "by": by})[0]) == ["slide", "case", "age"]
    with pytest.raises(InputError, match="e.csv: slide = E is on several rows"):
        join(left, found, {"file": "e.csv", "by": by})
    with pytest.raises(InputError, match="d.csv: column 'slide' exists already; rename it"):
        join(left, found, {"file": "d.csv", "by": by, "columns": {"slide": "case"}})
    # Rows that say the same do not contradict each other.
    edges = files(d_csv="cell,to,niche\n1,2,A\n1,3,A\n2,1,B\n", e_csv="cell,to\n1,2\n")
    cells = pd.DataFrame({"cell": [2, 1]})
    wanted = {"file": "d.csv", "by": {"cell": "cell"}, "columns": ["niche"]}
    assert join(cells, edges, wanted)[0]["niche"].tolist() == ["B", "A"]
    with pytest.raises(InputError, match="d.csv: cell = 1 is on several rows"):
        join(cells, edges, wanted | {"columns": ["niche", "to"]})
    absent = {"file": "z.csv", "by": by, "optional": True}
    assert join(left, found, absent) == (None, 0)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"file": "z.csv"}, "z.csv: no such table in .*; put it there, or correct its name"),
        ({"file": "z.csv", "hint": "convert it."}, "z.csv: no such table in .*; convert it."),
        ({"file": "a.fst"}, "a.fst: a .fst table is not read here; convert it to CSV"),
        ({"file": "empty.csv"}, "empty.csv: the table is empty"),
        ({"file": "*.csv"}, "2 files fit '[*].csv' .a.csv, empty.csv.; write a longer path"),
        ({"file": "a.csv", "keep": {"ful": [1]}}, "a.csv: no column 'ful'; did you mean 'full'?"),
        ({"file": "a.csv", "extract": {"id": "^(?P<x>E)$"}}, "1 of 2 values do not match"),
        ({"file": "a.parquet"}, "a.parquet is damaged or truncated"),
    ],
)
def test_each_fault_of_a_table_is_told(files, spec, sentence):
    found = files(a_csv="id,full\nE,1\nF,1\n", a_fst="x", empty_csv="", a_parquet="PAR1cut")
    with pytest.raises(InputError, match=sentence):
        read_table(found, spec)


def panel(cohort, rows, files=None):
    return read_panel(files, cohort(panel=rows))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([{"channel": "A"}, {"channel": "A", "marker": "B"}], "names channel 'A' twice"),
        ([{"channel": "A", "marker": "B"}, {"channel": "B"}], "names channel 'B' twice"),
        ([{"channel": "A", "uniprot": "CD45XX"}], "'CD45XX' is not a UniProt accession"),
        ([], "the panel names no channel"),
    ],
)
def test_each_fault_of_a_panel_is_told(cohort, rows, sentence):
    with pytest.raises(InputError, match=sentence):
        panel(cohort, rows)


def test_isoforms_and_long_accessions_are_legal(cohort):
    rows = [{"channel": "A", "uniprot": "P08575-8"}, {"channel": "B", "uniprot": "A0A024R1R8"}]
    assert panel(cohort, rows)["uniprot_id"].tolist() == ["P08575-8", "A0A024R1R8"]


def test_a_row_of_a_panel_table_needs_a_channel(cohort, files):
    found = files(panel_csv="name,acc\nA,P08575\n,P08575\n")
    rows = {"file": "panel.csv", "channel": "name", "uniprot": "acc"}
    with pytest.raises(InputError, match="panel.csv: row 2 has no 'name'; fill it in."):
        panel(cohort, rows, found)


@pytest.mark.parametrize(
    ("marker", "theirs", "fits"),
    [
        ("CD8a", "CD8", True),
        ("SMA", "alpha-SMA", True),
        ("c-Caspase3", "c-Caspase3/c-PARP", True),
        ("Ki-67", "Ki67", True),
        ("CD3", "CD38", False),
        ("CD4", "CD44", False),
        ("ER", "HER2", False),
        ("ER", "Rabbit IgG (H+L)", True),  # an alias
    ],
)
def test_names_fit_without_being_equal(cohort, files, marker, theirs, fits):
    found = files(order_csv=f"metal,name\n142Nd,{theirs}\n")
    rows = [{"channel": "Nd142", "marker": marker, "aliases": ["Rabbit IgG (H+L)"]}]
    order = {"file": "order.csv", "channel": "metal", "target": "name"}
    if fits:
        assert len(order_panel(panel(cohort, rows), found, order)) == 1
    else:
        with pytest.raises(InputError, match=f"calls channel 'Nd142' '{theirs}'"):
            order_panel(panel(cohort, rows), found, order)


def test_a_channel_listed_twice_is_told(cohort, files):
    found = files(order_csv="metal\nNd142\n142Nd\n")
    order = {"file": "order.csv", "channel": "metal"}
    with pytest.raises(InputError, match="order.csv: channel 'Nd142' is empty or listed twice"):
        order_panel(panel(cohort, [{"channel": "Nd142"}]), found, order)


GROUPS = {"t1": {"patient": "p1", "part": "a"}, "t2": {"patient": "p2", "part": "b"}}


def test_a_shipped_split_is_named_train_and_test(cohort, files):
    found = files(s_csv="id,set\nt1,learn\nt2,hold out\n")
    split = {
        "file": "s.csv",
        "by": {"tissue": "id"},
        "column": "set",
        "train": ["learn"],
        "test": ["hold out"],
    }
    table, _ = describe(GROUPS, found, cohort(split=split))
    assert table["split"].tolist() == ["train", "test"]
    table, _ = describe({**GROUPS, "t3": GROUPS["t2"]}, found, cohort(split=split))
    assert table["split"].tolist() == ["train", "test", None]
    with pytest.raises(
        InputError, match="split column 'set' holds 'hold out', which is in neither"
    ):
        describe(GROUPS, found, cohort(split={**split, "test": []}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"patient": "{who}"}, "key 'patient' .*who.*: no column 'who'"),
        (
            {
                "patient": "{case}",
                "clinical": [{"file": "d.csv", "by": {"patient": "p"}, "columns": ["case"]}],
            },
            "tissue t2 and 0 more have no patient .*complete the clinical table",
        ),
        (
            {"clinical": [{"file": "d.csv", "by": {"patient": "p"}, "columns": ["height"]}]},
            "clinical column 'height' has the name of a column of ours; rename it",
        ),
        (
            {"clinical": [{"file": "d.csv", "by": {"patent": "p"}}]},
            "joined to: no column 'patent'; did you mean 'patient'?",
        ),
    ],
)
def test_each_fault_of_the_tissues_is_told(cohort, files, changes, sentence):
    found = files(d_csv="p,case,height\np1,61,3\n")
    with pytest.raises(InputError, match=sentence):
        describe(GROUPS, found, cohort(**changes))
