"""Faults of a whole study, on a stand-in that takes two seconds and may be given defects."""

import sys

import pytest

from tests.faults import whole

SEED = 477  # faults well apart: also on a busy machine each run gets going before it is struck
STAND_IN = """
import signal, sys, time
from pathlib import Path

results, defect = Path("results/stand_in/models"), sys.argv[1]

def stop(number, frame):
    if defect == "removes":
        (results / "0").unlink(missing_ok=True)
    sys.exit(1)

signal.signal(signal.SIGTERM, stop)
again = results.exists()
results.mkdir(parents=True, exist_ok=True)
if defect == "fails" and again:
    sys.exit("this study never starts twice")
for number in range(30):
    path = results / str(number)
    if path.exists():
        continue
    if defect == "leaves":
        path.write_bytes(b"half")
    time.sleep(0.05)
    path.with_name(f"{number}.part").write_bytes(b"whole")
    path.with_name(f"{number}.part").rename(path)
"""


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Return a function that lets three faults strike a stand-in and returns their rows."""

    def rows(defect, *kinds):
        monkeypatch.setattr(whole, "KINDS", kinds)
        (tmp_path / "study.py").write_text(STAND_IN)
        command = [sys.executable, "study.py", defect, "snakemake"]
        return list(whole.Whole(tmp_path, command, "results/stand_in").series(SEED, 3))

    return rows


def test_a_sound_study_goes_on_after_each_fault(rows):
    found = rows("none", "scheduler", "machine", "terminate")
    assert [row["next_run"] for row in found] == ["struck", "struck", "undisturbed"]
    assert all(row["struck"] == "snakemake" and row["survived"] for row in found)
    assert found[-1]["bytes_finished"] > found[0]["bytes_finished"]


def test_what_a_fault_leaves_half_written_is_found(rows):
    found = rows("leaves", "machine")
    assert not found[-1]["survived"] and "the results differ: models/" in found[-1]["problem"]


def test_what_a_fault_removes_is_counted(rows):
    assert [row["bytes_lost"] for row in rows("removes", "terminate")] == [5, 5, 5]


def test_a_run_that_fails_by_itself_did_not_survive(rows):
    found = rows("fails", "machine")
    assert found[0]["survived"] and not any(row["survived"] for row in found[1:])
    assert "a run failed before it was struck: this study never" in found[1]["problem"]


def test_a_seed_plays_the_same_moments_again():
    drawn = whole.draw(3, 20)
    assert drawn == whole.draw(3, 20) != whole.draw(4, 20)
    assert drawn == sorted(drawn, key=lambda fault: fault.share)
    assert {fault.kind for fault in drawn} == set(whole.KINDS)
