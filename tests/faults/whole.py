"""Faults at random moments of the whole embedded study, from a seed that plays them again.

    python -m tests.faults.whole --faults 5 --seed 7 --record benchmarks/faults.csv

The study runs once without a fault and once more with them: each strikes at a moment drawn from the
time that the first run took, and the next run goes on from there. What was finished must be there
after each fault, and at the end the results of both must be equal. It takes as long as the study
takes twice, and what the faults destroyed.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from tests.conftest import copy_working_tree
from tests.faults import small
from tests.faults.chaos import Chaos, Fault, matters
from tests.faults.record import append
from tests.workflow.test_two_runs import compared, differences

KINDS = ("scheduler", "job", "machine", "interrupt", "terminate")
COMMAND = (sys.executable, "-m", "snakemake", "--profile", "demo", "all")


def draw(seed, number):
    """Return a number of faults in order of time; `share` is of the time of the whole study."""
    rng = random.Random(seed)
    shares = sorted(round(rng.random(), 4) for _ in range(number))
    return [Fault(rng.choice(KINDS), "", share) for share in shares]


class Whole(Chaos):
    """A study in a folder, the results of an undisturbed run of it, and faults."""

    def __init__(self, folder, command=COMMAND, results="results/demo"):
        """Run the study once without a fault and set its results aside."""
        self.folder, self.command, self.results = folder, command, folder / results
        started = time.monotonic()
        if failed := self.run_to_the_end():
            raise AssertionError(failed)
        self.seconds = time.monotonic() - started
        self.reference = self.results.rename(folder / "undisturbed")

    def run_to_the_end(self):
        """Let a run end; return what it said, empty if it ended well."""
        status = small.launch(self.folder, self.command).wait()
        return (self.folder / "printed.txt").read_text()[-1500:] if status else ""

    def finished(self):
        """Return {path: (time written, bytes)} of results that no unfinished job is to make."""
        marked = [self.folder / path for path in self.marked()]
        found = {}
        # Every start writes study.json.
        for path in filter(small.counts, compared(self.results) - {Path("study.json")}):
            made = self.results / path
            if not any(made.is_relative_to(mark) for mark in marked):
                with suppress(FileNotFoundError):  # a job has just given it its final name
                    found[path] = made.stat().st_mtime_ns, made.stat().st_size
        return found

    def lost(self, before):
        """Return the bytes that were finished before and are gone or written anew now."""
        now = self.finished()
        return sum(found[1] for path, found in before.items() if now.get(path) != found)

    def strike_after(self, fault, seconds):
        """Start a run; strike it so many seconds later, or when there is something to strike."""
        run = small.launch(self.folder, self.command)
        with suppress(subprocess.TimeoutExpired):
            run.wait(seconds)
        self.wait_for(lambda: self.struck(fault, anywhere=True), run)
        return self.hit(fault, run)

    def recover(self):
        """Run to the end; return what is wrong with the results, empty if nothing is."""
        if failed := self.run_to_the_end():
            return f"the next run failed: {failed}"
        _, differing = differences(self.reference, self.results)
        return f"the results differ: {', '.join(differing)}" if differing else ""

    def series(self, seed, number):
        """Let faults happen in a row, and yield a row of each that matters."""
        passed = 0
        for place, fault in enumerate(draw(seed, number)):
            started, last = time.monotonic(), place == number - 1  # the run after it ends
            seconds = (fault.share - passed) * self.seconds
            names, before, problem = self.strike_after(fault, seconds)
            passed, lost, locked = fault.share, self.lost(before), self.drop_lock()
            problem = problem or locked or (self.recover() if last else "")
            row = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "seed": seed, "number": place}
            row |= {"fault": f"{fault.kind}, demo", "share": fault.share, "struck": names}
            row |= {
                "next_run": "undisturbed" if last else "struck",
                "survived": not problem and not lost,
                "bytes_finished": sum(size for _, size in before.values()),
                "bytes_lost": lost,
                "seconds": round(time.monotonic() - started, 1),
                "problem": problem,
            }
            if matters(row):
                yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faults", type=int, default=5)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--record", type=Path, help="a csv file to append the rows to")
    parsed = parser.parse_args()
    print(f"seed {parsed.seed}: {draw(parsed.seed, parsed.faults)}", flush=True)
    whole = Whole(copy_working_tree(Path(tempfile.mkdtemp()) / "checkout"))
    rows = []
    for row in whole.series(parsed.seed, parsed.faults):
        print(row, flush=True)
        rows.append(row)
        if parsed.record:
            append(parsed.record, row)
    print(f"{sum(row['survived'] for row in rows)} of {len(rows)} survived, in {whole.folder}")
    sys.exit(not all(row["survived"] for row in rows))


if __name__ == "__main__":
    main()
