"""The tables of docs/performance.md come from the rows of benchmarks/results.csv alone."""

import re

import pandas as pd
import pytest

from benchmarks.common import COLUMNS, RESULTS, append
from benchmarks.tables import DOCUMENT, PLACE, filled

APPENDS = re.compile(r"^from benchmarks.common import .*\bappend\b", re.M)
TEXT = """Before
<!-- table: crops -->
old numbers
<!-- end -->
<!-- table: attention -->
<!-- end -->
After
"""


def row(case, date, value, hardware="A CPU, cores used: 1"):
    found = dict.fromkeys(COLUMNS, "") | {"case": case, "date": date, "value": value}
    return found | {"benchmark": "crops", "metric": "rate", "unit": "1/s", "hardware": hardware}


def test_a_table_has_the_last_row_of_the_newest_day_of_each_device():
    results = pd.DataFrame(
        [
            row("old name", "2026-01-01", "100"),
            row("a", "2026-01-01", "200"),
            row("a", "2026-02-01", "300"),
            row("a", "2026-02-01", "310"),
            row("a", "2026-01-15", "9000", "NVIDIA H100"),
        ]
    )
    lines = filled(TEXT, results).splitlines()
    assert lines[0] == "Before" and lines[-1] == "After" and "old numbers" not in lines
    assert [line.split(" | ")[2] for line in lines if line.startswith("| rate: ")] == [
        "310",
        "9000",
    ]
    assert lines.count("Not measured yet.") == 1


@pytest.mark.parametrize(
    ("quiet", "shown"), [("A CPU, cores used: 1", ["2"]), ("a GPU", ["1", "2"])]
)
def test_what_ran_beside_other_work_gives_way_on_its_own_device(quiet, shown):
    busy = row("small", "2026-01-01", "1", "A CPU, cores used: 2, busy: only ratios count")
    table = filled(TEXT, pd.DataFrame([busy, row("large", "2026-01-01", "2", quiet)]))
    assert re.findall(r"\| (\d) \|", table) == shown


def test_the_document_has_a_table_for_every_benchmark_that_appends(tmp_path, capsys):
    written = append("crops", [{"case": "x", "metric": "m", "value": 1.0}], [], path=tmp_path / "r")
    assert filled(TEXT, pd.DataFrame(written)).count("| m: x | ") == 1
    places = {name for _, name, _ in PLACE.findall(DOCUMENT.read_text())}
    folder = DOCUMENT.parents[1] / "benchmarks"
    scripts = {path.stem for path in folder.glob("*.py") if APPENDS.search(path.read_text())}
    assert places == scripts


def test_the_document_shows_the_table_as_it_is():
    text, results = DOCUMENT.read_text(), pd.read_csv(RESULTS, dtype=str, keep_default_na=False)
    assert filled(text, results) == text, "run `python -m benchmarks.tables`"
