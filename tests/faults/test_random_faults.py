"""Ten faults at random moments of a small study; `make faults` tries two hundred."""

import time

import pytest

from tests.faults import small, whole
from tests.faults.chaos import KINDS, Chaos, again, draw, parser, series, try_all
from tests.faults.record import DOCUMENT, filled, read_rows

FAULTS = 10


@pytest.fixture(scope="module")
def chaos(checkout):
    return Chaos(checkout("chaos"))


def test_results_survive_faults_at_random_moments(chaos):
    """The run after a fault is the one that the next fault strikes; the last runs to its end."""
    seed = int(time.time())
    rows = list(series(chaos, seed, range(FAULTS), in_a_row=FAULTS))
    bad = [
        f"to try it again: {again(seed, range(FAULTS), row['number'], FAULTS)}\n{row}"
        for row in rows
        if not row["survived"]
    ]
    assert not bad, "\n".join(bad)
    assert sum(row["bytes_finished"] for row in rows) > 100_000
    assert not any(row["bytes_lost"] for row in rows)


class Planted(Chaos):
    """One result and faults that meet nothing to strike, of which some do harm all the same."""

    def __init__(self, folder, losing, failing):
        self.folder, self.losing, self.failing, self.tried = folder, losing, failing, 0
        self.result = folder / small.RESULTS / "models/tiny/model.safetensors"
        self.result.parent.mkdir(parents=True)
        self.result.write_bytes(b"weights")
        self.reference = small.results(folder)

    def strike(self, fault):
        before = self.finished()
        if self.tried in self.losing:
            self.result.unlink()
        return "nothing", before, ""

    def unlock(self, number=0):
        return ""

    def recover(self):
        self.result.write_bytes(b"weights")
        self.tried += 1
        return "the next run failed" if self.tried - 1 in self.failing else ""


def test_harm_is_kept_also_where_nothing_was_struck(tmp_path, capsys):
    chaos, record = Planted(tmp_path / "study", losing=[1], failing=[3]), tmp_path / "faults.csv"
    asked = ["--seed", "5", "--faults", "5", "--record", str(record)]
    assert not try_all(chaos, parser().parse_args(asked))
    rows = read_rows(record)
    assert set(rows["struck"]) == {"nothing"} and set(rows["survived"]) == {"False"}
    kept = rows[["number", "bytes_lost", "problem"]].to_numpy().tolist()
    assert kept == [["1", "7", ""], ["3", "0", "the next run failed"]]
    printed = capsys.readouterr().out
    assert "0 of 2 survived, 3 met nothing to strike" in printed
    assert "again: python -m tests.faults.chaos --seed 5 --first 3 --faults 1 " in printed

    assert try_all(Planted(tmp_path / "other", [], []), parser().parse_args(asked))
    assert len(read_rows(record)) == 2


def test_the_command_for_a_failure_tries_the_same_row_up_to_it():
    def tried(seed, numbers, number, in_a_row):
        asked = parser().parse_args(again(seed, numbers, number, in_a_row).split()[3:])
        assert (asked.seed, asked.in_a_row) == (seed, in_a_row)
        return [*range(asked.first, asked.first + asked.faults)]

    assert tried(7, range(10), 5, 10) == [0, 1, 2, 3, 4, 5]
    assert tried(7, range(100, 120), 113, 5) == [110, 111, 112, 113]
    assert tried(7, range(200), 36, 1) == [36]


def test_a_seed_plays_the_same_faults_again():
    assert [draw(3, n) for n in range(20)] == [draw(3, n) for n in range(20)]
    assert {draw(3, n) for n in range(20)} != {draw(4, n) for n in range(20)}


def test_the_document_has_the_recorded_rows_and_no_others():
    text, rows = DOCUMENT.read_text(), read_rows()
    assert filled(text, rows) == text, "run `python -m tests.faults.record`"
    drawn = set(rows[rows["number"] != ""]["fault"])
    assert drawn <= {*KINDS, *(f"{kind}, demo" for kind in whole.KINDS)}
