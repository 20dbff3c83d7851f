"""With FAULTS_RECORD=<a csv file>, tests that each try one fault append how it went.

Moments are drawn from a seed, which is printed and recorded; FAULTS_SEED plays them again.
"""

import os
import random
import time
from datetime import UTC, datetime

import pytest

from tests.faults.record import append

SEED = int(os.environ.get("FAULTS_SEED") or time.time())


@pytest.fixture
def moment(request):
    """Return when the fault of a test strikes, as a share of the time that it may come in."""
    share = random.Random(f"{SEED} {request.node.name}").random()
    print(f"strikes at {share:.3f} of the time; FAULTS_SEED={SEED} strikes there again")
    request.node.user_properties += [("seed", SEED), ("share", round(share, 3))]
    return share


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    path = os.environ.get("FAULTS_RECORD")
    if path and report.when == "call" and item.get_closest_marker("fault") and not report.skipped:
        row = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "fault": f"{item.path.stem}: {item.name}"}
        row |= {"survived": report.passed, "seconds": round(report.duration, 1)}
        row |= {"problem": "" if report.passed else report.longreprtext[-200:]}
        append(path, row | dict(item.user_properties))
    return report
