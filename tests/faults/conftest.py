"""With FAULTS_RECORD=<a csv file>, tests that each try one fault append how it went."""

import os
from datetime import UTC, datetime

import pytest

from tests.faults.record import append

SINGLE = ("test_bad_days", "test_on_cluster", "test_stopped_training")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    path = os.environ.get("FAULTS_RECORD")
    if path and report.when == "call" and item.path.stem in SINGLE and not report.skipped:
        row = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "fault": f"{item.path.stem}: {item.name}"}
        row |= {"survived": report.passed, "seconds": round(report.duration, 1)}
        append(path, row | {"problem": "" if report.passed else report.longreprtext[-200:]})
    return report
