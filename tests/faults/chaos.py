"""Faults at random moments of a small study, from a seed that plays them again.

    python -m tests.faults.chaos --faults 200 --seed 7 --record benchmarks/faults.csv

Every fault is drawn from (seed, number): what is struck, in which job, and how far into it. What
was finished before must be there afterwards, nothing under a final name may be wrong, and the next
run must end with the results of a run that nothing disturbed.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import psutil

from tests.conftest import copy_working_tree
from tests.faults import small
from tests.faults.record import append
from workflow_scripts.common.at_work import schedulers

# What is struck: Snakemake alone, a job, a loader process of a training, all of them at once (the
# machine is gone), Ctrl-C, SIGTERM to all of them, or a finished file, which is cut short.
KINDS = ("scheduler", "job", "worker", "machine", "interrupt", "terminate", "cut")
PATIENCE = 900  # s for anything to come or to go, on a busy machine
UNLOCKED_AS_DOCUMENTED = 10  # one fault in so many: unlocking starts Snakemake twice
# Files that later jobs read; cutting one short must be noticed. With the job that reads it.
READ = {
    "ingest/tiny/tissues.parquet": "split",
    "ingest/tiny/cells.parquet": "split",
    "ingest/tiny/tissue_masks/p1_1.npz": "split",
    "ingest/tiny/images/p2_1.ome.zarr/0/c/0/0/0": "preprocess",
    "ingest/tiny/images/p2_1.ome.zarr/zarr.json": "preprocess",
    "cohorts/tiny/metadata/tissues.parquet": "preprocess",
    "cohorts/tiny/model_ready/p1_1.zarr/c/0/0/0": "pretrain",
    "cohorts/tiny/sub_images.parquet": "pretrain",
    "markers/embeddings.safetensors": "pretrain",
    "models/tiny/model.safetensors": "embed",
    "models/tiny/config.json": "embed",
}


@dataclass(frozen=True)
class Fault:
    """What is struck, in which job, and at which share of its usual time."""

    kind: str
    job: str
    share: float
    file: str = ""


def draw(seed, number):
    """Return the fault of a number."""
    rng = random.Random(f"{seed} {number}")
    kind = KINDS[number % len(KINDS)]
    job = "pretrain" if kind == "worker" else rng.choice(list(small.MADE))
    file = rng.choice(list(READ)) if kind == "cut" else ""
    return Fault(kind, READ.get(file, job), round(rng.random(), 3), file)


class Chaos:
    """A small study in a folder, the results of an undisturbed run of it, and faults."""

    def __init__(self, folder):
        """Run the study once without a fault."""
        self.folder = folder
        small.write_study(folder)
        status, printed = small.run(folder)
        assert status == 0, printed[-3000:]
        self.reference = small.results(folder)
        tables = (folder / small.RESULTS / "benchmarks").rglob("*.tsv")
        self.seconds = {}  # of each job
        for path in tables:
            job = next(
                n for n in small.MADE if n in path.relative_to(folder).parts or n == path.stem
            )
            self.seconds[job] = float(pd.read_csv(path, sep="\t")["s"][0])

    def due(self, job):
        """Tell whether the results of a job are missing or unfinished."""
        made = small.RESULTS / small.MADE[job]
        marked = map(Path, self.marked())
        unfinished = any(made.is_relative_to(p) or p.is_relative_to(made) for p in marked)
        return unfinished or not (self.folder / made).exists()

    def marked(self):
        """Return the outputs that Snakemake holds for unfinished."""
        root = self.folder / ".snakemake/incomplete"
        names = []
        for path in root.rglob("*"):
            if path.is_file() and path.name != "migration_underway":
                names.append("".join(n.removeprefix("@") for n in path.relative_to(root).parts))
        return [urlsafe_b64decode(name).decode() for name in names]

    def finished(self):
        """Return {path: (sha256, bytes)} of results that no unfinished job is to make again."""
        marked = [os.path.relpath(path, small.RESULTS) for path in self.marked()]
        return {
            path: found
            for path, found in small.results(self.folder).items()
            if not any(path == mark or path.startswith(f"{mark}/") for mark in marked)
        }

    def strike(self, fault):
        """Start a run, strike it when its job is due; return what `hit` does."""
        if not self.due(fault.job):
            small.lose(self.folder, fault.job)
        run = small.start(self.folder)
        target = self.wait_for(lambda: self.struck(fault), run)
        if target:
            # A loader process lives for a small part of its job.
            time.sleep(fault.share * (0.5 if fault.kind == "worker" else self.seconds[fault.job]))
        return self.hit(fault, run)

    def hit(self, fault, run):
        """Strike a run and wait until nothing runs.

        Returns what was struck, what was finished before, and what is wrong with a run that failed
        although nothing struck it.
        """
        before = self.finished()
        target = self.struck(fault, anywhere=True)
        names = "+".join(sorted({self.name(process) for process in target})) or "nothing"
        number = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM}.get(fault.kind)
        small.kill(target, number or signal.SIGKILL)
        assert self.wait_for(lambda: not small.processes(self.folder)), "something runs on"
        if run.wait() == 0:  # it was struck too late, or not at all
            return "nothing", before, ""
        printed = (self.folder / "printed.txt").read_text()[-1500:]
        return names, before, "" if target else f"a run failed before it was struck: {printed}"

    def struck(self, fault, anywhere=False):
        """Return the processes that a fault strikes, empty until its job runs.

        `anywhere`: strike also when that job has just ended; then something else may be struck,
        or nothing is there any more.
        """
        scripts = small.scripts(self.folder)
        mine = [one for one in scripts if self.name(one) == fault.job]
        if not mine and not anywhere:
            return []
        if fault.kind == "job":
            return mine or scripts[:1]
        if fault.kind == "worker":
            return small.workers(self.folder)[:1]
        everything = small.processes(self.folder)
        if fault.kind == "scheduler":
            return [process for process in everything if self.name(process) == "snakemake"]
        return everything

    @staticmethod
    def name(process):
        """Return the rule of a script's process, or what else a process is."""
        try:
            words = process.cmdline()
        except psutil.Error:
            return "gone"
        script = words[-1] if words and "/.snakemake/scripts/" in words[-1] else None
        if script:
            return Path(script).name.split(".")[1]
        return "snakemake" if "snakemake" in words else "helper"

    def wait_for(self, condition, run=None):
        """Wait for a condition and return it; None if the run ends before it comes true."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if answer := condition():
                return answer
            if run and run.poll() is not None:
                return None
            time.sleep(0.02)
        return None

    def cut(self, fault, rng):
        """Cut a finished file short and run the job that reads it; return what it said."""
        if self.recover():
            raise AssertionError("the run before this fault did not end well")
        small.lose(self.folder, fault.job)
        path = self.folder / small.RESULTS / fault.file
        path.write_bytes(path.read_bytes()[: int(rng.random() * path.stat().st_size)])
        status, printed = small.run(self.folder)
        if status == 0:
            return "not noticed"
        if "Traceback" in printed:
            return f"a traceback and no sentence: {printed[-800:]}"
        try:
            small.delete_what_is_named(self.folder, fault.file, printed)
        except ValueError as error:
            return str(error)
        return ""

    def unlock(self, number=0):
        """Unlock as the documentation says, or for most numbers do what it does in the end."""
        if number % UNLOCKED_AS_DOCUMENTED:
            return self.drop_lock()
        command = [sys.executable, "-m", "workflow_scripts.unlock", "--configfile", "study.yaml"]
        done = subprocess.run(
            command, cwd=self.folder, env=small.environment(), capture_output=True, text=True
        )
        return "" if done.returncode == 0 else done.stdout + done.stderr

    def drop_lock(self):
        """Do what unlocking does, in a moment; return what it would refuse."""
        if found := schedulers(self.folder):
            return f"unlocking is refused: {found}"
        for lock in (self.folder / ".snakemake/locks").glob("*"):
            lock.unlink()
        return ""

    def recover(self):
        """Run to the end; return what is wrong with the results, empty if nothing is."""
        status, printed = small.run(self.folder)
        if status != 0:
            return f"the next run failed: {printed[-1500:]}"
        now = small.results(self.folder)
        wrong = [
            p for p in now.keys() | self.reference.keys() if now.get(p) != self.reference.get(p)
        ]
        if wrong:
            return f"the next run's results differ: {', '.join(sorted(wrong))}"
        left = small.unfinished(self.folder)
        return f"left behind: {left}" if left else ""

    def try_one(self, fault, rng, number=0, recover=True):
        """Let a fault happen; return the columns of its row that tell how it went."""
        started, problem, before = time.monotonic(), "", {}
        if fault.kind == "cut":
            problem, names = self.cut(fault, rng), fault.file
        else:
            names, before, problem = self.strike(fault)
            locked = self.unlock(number) if recover else self.drop_lock()
            problem = problem or locked
        wrong = {p for p, found in self.finished().items() if self.reference.get(p) != found}
        lost = self.lost(before)
        if wrong:
            problem = problem or f"wrong under a final name: {', '.join(sorted(wrong))}"
        if recover:
            problem = problem or self.recover()
        return {
            "struck": names,
            "survived": not problem and not lost,
            "bytes_finished": sum(size for _, size in before.values()),
            "bytes_lost": lost,
            "seconds": round(time.monotonic() - started, 1),
            "problem": problem,
        }

    def lost(self, before):
        """Return the bytes of results that were finished before and are gone or changed now."""
        now = small.results(self.folder)
        return sum(found[1] for path, found in before.items() if now.get(path) != found)


def series(chaos, seed, numbers, in_a_row=1, tell=print):
    """Try the faults of some numbers; yield a row of each that matters.

    `in_a_row`: so many strike one after the other, each the run after the one before; the run
    after the last of them ends undisturbed.
    """
    for place, number in enumerate(numbers, 1):
        fault = draw(seed, number)
        tell(f"seed {seed}, fault {number}: {fault}")
        row = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "seed": seed, "number": number}
        row |= {"fault": fault.kind, "job": fault.job, "share": fault.share}
        rng = random.Random(f"{seed} {number} cut")
        recover = place % in_a_row == 0 or place == len(numbers)
        row |= {"next_run": "undisturbed" if recover else "struck"}
        row |= chaos.try_one(fault, rng, number, recover)
        tell(f"  struck {row['struck']}, survived: {row['survived']} {row['problem']}")
        if matters(row):
            yield row


def matters(row):
    """Tell whether a fault is to be counted: it struck something, or harm was done."""
    return row["struck"] != "nothing" or not row["survived"]


def again(seed, numbers, number, in_a_row=1):
    """Return the command that tries a fault again, after those before it in the same row."""
    first = number - (number - numbers[0]) % in_a_row
    command = f"python -m tests.faults.chaos --seed {seed} --first {first}"
    return f"{command} --faults {number - first + 1} --in-a-row {in_a_row}"


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first fault")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--in-a-row", type=int, default=1, help="faults before a whole run")
    parser.add_argument("--record", type=Path, help="a csv file to append the rows to")
    return parser


def try_all(chaos, parsed):
    """Try the faults of a command line and record them; return whether all survived."""
    tried = survived = 0
    numbers = range(parsed.first, parsed.first + parsed.faults)
    for row in series(chaos, parsed.seed, numbers, parsed.in_a_row):
        tried, survived = tried + 1, survived + row["survived"]
        if parsed.record:
            append(parsed.record, row)
        if not row["survived"]:
            print(f"  again: {again(parsed.seed, numbers, row['number'], parsed.in_a_row)}")
    print(f"{survived} of {tried} survived, {len(numbers) - tried} met nothing to strike")
    return survived == tried


def main():
    parsed = parser().parse_args()
    chaos = Chaos(copy_working_tree(Path(tempfile.mkdtemp()) / "checkout"))
    survived = try_all(chaos, parsed)
    print(f"the last state is in {chaos.folder}")
    sys.exit(not survived)


if __name__ == "__main__":
    main()
