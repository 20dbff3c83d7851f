"""Ten faults at random moments of a small study; `make faults` tries two hundred."""

import time

import pytest

from tests.faults.chaos import KINDS, Chaos, draw, series
from tests.faults.record import DOCUMENT, filled, read_rows

FAULTS = 10


@pytest.fixture(scope="module")
def chaos(checkout):
    return Chaos(checkout("chaos"))


def test_results_survive_faults_at_random_moments(chaos):
    """The run after a fault is the one that the next fault strikes; the last runs to its end."""
    seed = int(time.time())
    rows = list(series(chaos, seed, range(FAULTS), in_a_row=FAULTS))
    again = f"to try it again: python -m tests.faults.chaos --seed {seed} --faults 1 --first "
    bad = [f"{again}{row['number']}\n{row}" for row in rows if not row["survived"]]
    assert not bad, "\n".join(bad)
    assert sum(row["bytes_finished"] for row in rows) > 100_000
    assert not any(row["bytes_lost"] for row in rows)


def test_a_seed_plays_the_same_faults_again():
    assert [draw(3, n) for n in range(20)] == [draw(3, n) for n in range(20)]
    assert {draw(3, n) for n in range(20)} != {draw(4, n) for n in range(20)}


def test_the_document_has_the_recorded_rows_and_no_others():
    text, rows = DOCUMENT.read_text(), read_rows()
    assert filled(text, rows) == text, "run `python -m tests.faults.record`"
    assert set(rows[rows["seed"] != ""]["fault"]) <= set(KINDS)
