"""What is timed of the report: a finished demo, and only what was asked to be made again."""

import pytest

from benchmarks import report


def test_the_report_and_a_figure_are_made_again_and_timed():
    asked = []

    def run(*arguments):
        asked.append(arguments)
        return float(len(asked)), f"job  count\ntotal  {2 if 'report' in arguments else 4}\n"

    found = report.rows("fig3b", run)
    assert asked[2:] == [("--forcerun", "report"), ("--forcerun", "fig3b")]
    assert all("--dry-run" in arguments for arguments in asked[:2])
    assert [(row["value"], row["target"]) for row in found] == [
        (3.0, "value <= 20"),
        (4.0, "value <= 30"),
    ]
    assert found[0]["case"].startswith("report of all 61 targets")


@pytest.mark.parametrize("said", ["", "job  count\ntotal  3\n"])
def test_a_study_that_would_run_something_else_is_not_timed(said):
    with pytest.raises(SystemExit, match="expected a finished demo .*; run `make demo` first"):
        report.rows("fig2d", lambda *arguments: (1.0, said))
