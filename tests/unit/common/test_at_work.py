"""A folder in which something works is neither unlocked nor cleaned."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from workflow_scripts import unlock
from workflow_scripts.commands import check_env, clean_intermediate
from workflow_scripts.common import at_work


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A locked folder, which is the current one, with a file that cleaning would remove."""
    tokens = tmp_path / "results/virtues/embeddings/all14/damond2019"
    tokens.parent.mkdir(parents=True)
    tokens.write_text("tokens")
    lock = tmp_path / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/virtues/claims.csv\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A function that sets what squeue does; none of the machine's own is found."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    program = tmp_path / "bin/squeue"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)

    def does(text):
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)

    does("true")
    return does


@pytest.fixture
def snakemake_at_work():
    """A function that starts a stand-in for Snakemake in a folder; returns its process."""
    started = []

    def start(folder, *options):
        script = folder / "snakemake"
        script.write_text("import time; print(1, flush=True); time.sleep(60)")
        command = [sys.executable, str(script), "all", *options]
        started.append(subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE))
        started[-1].stdout.readline()  # so it is there
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def refusals():
    """Return what unlocking and cleaning say when they refuse, and what check_env says."""
    said = []
    for command in (unlock.main, lambda: clean_intermediate.main(["--yes"])):
        with pytest.raises(SystemExit) as stopped:
            command()
        said.append(stopped.value.code)
    return *said, check_env.lock()


def test_a_run_on_this_machine(locked, squeue, snakemake_at_work):
    run = snakemake_at_work(locked)
    unlocking, cleaning, (line, problem) = refusals()
    assert unlocking == (
        f"{locked}: in use by a run (process {run.pid}); wait for the end, or stop it with "
        f"`kill -INT {run.pid}`, and try again"
    )
    assert cleaning == unlocking
    assert line == f"lock: held, and the folder is in use by a run (process {run.pid})"
    assert problem is None
    assert list(locked.glob("results/*/embeddings/*/*")) and list(unlock.LOCKS.iterdir())


def test_jobs_of_the_cluster(locked, squeue):
    squeue(f"printf '12\\tR\\tname\\t{locked}\\n9\\tPD\\tname\\t{locked}\\n'")
    unlocking, cleaning, (line, problem) = refusals()
    assert unlocking == (
        f"{locked}: in use by jobs in the cluster's queue (9 12); wait for the end, or stop it "
        "with `scancel 9 12`, and try again"
    )
    assert cleaning == unlocking
    assert line.endswith("in use by jobs in the cluster's queue (9 12)") and problem is None
    assert list(locked.glob("results/*/embeddings/*/*")) and list(unlock.LOCKS.iterdir())


def test_a_cluster_that_does_not_answer(locked, squeue):
    squeue("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    unlocking, cleaning, (line, problem) = refusals()
    assert unlocking == cleaning == problem
    assert problem.startswith("SLURM does not answer: slurm_load_jobs error: Unable")
    assert line == "lock: held, and whether cluster jobs go on is not known"
    assert list(locked.glob("results/*/embeddings/*/*")) and list(unlock.LOCKS.iterdir())


def test_a_folder_at_rest_is_unlocked_and_cleaned(locked, squeue, monkeypatch, capsys):
    asked = []
    done = subprocess.CompletedProcess([], 0)
    line, problem = check_env.lock()
    assert line == "lock: held, and nothing runs here" and problem.endswith("then: make unlock")
    clean_intermediate.main(["--yes"])
    assert not list(locked.glob("results/*/embeddings/*/*"))
    stand_in = SimpleNamespace(run=lambda command: asked.append(command) or done)
    monkeypatch.setattr(unlock, "subprocess", stand_in)
    monkeypatch.setattr(sys, "argv", ["unlock", "--configfile", "mine.yaml"])
    with pytest.raises(SystemExit) as ended:
        unlock.main()
    assert ended.value.code == 0 and asked[0][-5:] == [
        "--unlock", "--cores", "1", "--configfile", "mine.yaml",
    ]  # fmt: skip
    (locked / ".snakemake/locks/0.output.lock").unlink()
    assert check_env.lock() == ("lock: none of another run", None)


def test_neither_one_job_nor_a_file_of_that_name_is_a_run(tmp_path, snakemake_at_work):
    snakemake_at_work(tmp_path, "--mode", "subprocess")
    (tmp_path / "snakemake.log").write_text("import time; time.sleep(60)")
    reader = subprocess.Popen([sys.executable, "snakemake.log"], cwd=tmp_path)
    try:
        assert at_work.schedulers(tmp_path) == []
    finally:
        reader.kill()
        reader.wait()


def test_the_run_that_asks_is_not_in_its_own_way(squeue, monkeypatch):
    """`snakemake check_env` looks for others than itself."""
    parent = psutil.Process().parent()
    monkeypatch.setattr(at_work, "is_snakemake", lambda process: process == parent)
    assert at_work.schedulers(parent.cwd()) == [parent]
    at_work.refuse_at_work(parent.cwd())


@pytest.mark.parametrize(
    ("options", "said"),
    [([], "none of another run"), (["--nolock"], "held, and whether cluster jobs go on is not")],
)
def test_a_lock_of_the_run_that_asks_is_told_from_another(locked, squeue, options, said):
    """Where SLURM does not answer, only the lock of another run leaves something unknown."""
    squeue("exit 1")
    ask = "from workflow_scripts.commands import check_env; print(check_env.lock()[0])"
    (locked / "snakemake").write_text(
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ask!r}])"
    )
    asked = subprocess.run(
        [sys.executable, "snakemake", "check_env", *options],
        env=os.environ | {"PYTHONPATH": str(Path(unlock.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert asked.stdout.startswith(f"lock: {said}"), asked.stderr
