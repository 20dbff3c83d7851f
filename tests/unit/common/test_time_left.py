"""A training in a job of a cluster that ends: it asks when, and saves its state before."""

import os
import time

import pytest

from tests.unit.common.test_training import run_toy
from workflow_scripts.common.training.time_left import parse, seconds_left, stop_time


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Return a function that puts a squeue on the path which says how much time is left."""
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def say(text):
        program = tmp_path / "squeue"
        program.write_text(f'#!/bin/sh\n[ "$3" = --jobs=17 ] && echo "{text}"\n')
        program.chmod(0o755)

    return say


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:09", 9),
        ("12:30", 750),
        ("1:00:00", 3600),
        ("6-23:59:58", 604_798),
        ("UNLIMITED", None),
        ("NOT_SET", None),
        ("", None),
    ],
)
def test_squeue_is_understood(text, seconds):
    assert parse(text) == seconds


def test_a_state_is_saved_two_minutes_before_the_end_or_a_tenth_of_the_time(squeue):
    for text, seconds in (("1-00:00:00", 86_280), ("1:40", 90)):
        squeue(text)
        assert stop_time() - time.monotonic() == pytest.approx(seconds, abs=5)


def test_without_slurm_or_its_answer_no_end_is_known(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert stop_time() == float("inf")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert seconds_left() is None
    assert "when this job ends is not known" in caplog.text


def test_a_training_stops_before_the_limit_and_goes_on_to_the_same_weights(
    squeue, tmp_path, caplog
):
    squeue("UNLIMITED")
    losses, _ = run_toy(tmp_path / "whole", 12)
    squeue("0:01")
    slow = {5: lambda batch: time.sleep(1) or batch}  # in the third step
    with pytest.raises(SystemExit) as stopped:
        run_toy(tmp_path / "cut", 12, slow)
    assert stopped.value.code == 1
    told = "stopped before its job's time limit after step 3; start again to go on"
    assert told in caplog.text
    squeue("UNLIMITED")
    assert run_toy(tmp_path / "cut", 12)[0] == losses
