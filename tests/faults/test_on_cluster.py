"""Faults of a cluster, on a real SLURM of one node: results end as those of an undisturbed run."""

import re
import subprocess
import sys
import time

import pytest
import yaml

from tests.faults import small
from tests.workflow import slurm

pytestmark = pytest.mark.nightly
PROFILE = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "2")
STEPS = 20_000  # a training that outlasts whatever happens to it


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    try:
        with slurm.one_node_cluster(tmp_path_factory.mktemp("slurm")) as node:
            yield node
    except slurm.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def study(node, checkout):
    """A checkout with the small study, run once by the cluster without a fault; and its results."""
    folder = checkout("cluster")
    small.write_study(folder)
    status, printed = small.run(folder, *PROFILE)
    assert status == 0, printed[-3000:]
    return folder, small.results(folder)


@pytest.fixture(params=["pretrain", "ingest"])
def running(study, request):
    """A run in which a job of one rule has just begun to compute."""
    folder, _ = study
    begin(folder, request.param)
    run = small.start(folder, *PROFILE)
    slurm.wait_until(lambda: job_of(folder, request.param), "the job", 180)
    yield folder, run, request.param
    small.kill(small.processes(folder))


def begin(folder, rule):
    """Remove what a rule and those after it made."""
    small.lose(folder, rule)
    log = folder / small.RESULTS / f"logs/{rule}/tiny.log"
    log.unlink(missing_ok=True)


def job_of(folder, rule):
    """Return the id of the cluster's job of a rule whose script runs; None if there is none."""
    log = folder / small.RESULTS / f"logs/{rule}/tiny.log"
    for job in slurm.recorded_jobs(folder):
        mine = job["Comment"].startswith(f"rule_{rule}_wildcards")
        if mine and job["JobState"] == "RUNNING" and log.exists():
            return job["JobId"]
    return None


def ends_well(study, run=None):
    """Let a run end, or make a new one, and compare its results with the undisturbed ones."""
    folder, reference = study
    status = run.wait(900) if run else small.start(folder, *PROFILE).wait(900)
    assert status == 0, (folder / "printed.txt").read_text()[-3000:]
    assert small.results(folder) == reference and not small.unfinished(folder)


def test_a_cancelled_job_is_submitted_again(study, running):
    folder, run, rule = running
    slurm.output("scancel", job_of(folder, rule))
    ends_well(study, run)


def test_the_nodes_daemon_is_killed_and_comes_back(study, running, node):
    """Its jobs run on meanwhile, and nobody need do anything."""
    _, run, _ = running
    node.kill(jobs=False)
    time.sleep(3)
    node.start()
    ends_well(study, run)


def test_the_node_is_lost_with_all_that_ran_on_it(study, running, node):
    _, run, _ = running
    node.kill(jobs=True)
    time.sleep(3)
    node.start()
    ends_well(study, run)


def test_the_scheduler_is_killed_while_its_jobs_run_on(study, running):
    folder, run, rule = running
    job = job_of(folder, rule)
    run.kill()
    run.wait()
    status, printed = small.run(folder, *PROFILE)
    assert status != 0 and "Directory cannot be locked" in printed
    unlock = [sys.executable, "-m", "workflow_scripts.unlock", "--configfile", "study.yaml"]
    options = {"cwd": folder, "env": small.environment(), "capture_output": True, "text": True}
    if slurm.output("squeue", "-h", "-j", job, "-t", "running"):  # it may have ended by now
        refused = subprocess.run(unlock, **options)
        assert refused.returncode == 1
        sentence = rf"in use by jobs in the cluster's queue \({job}\).*`scancel {job}`"
        assert re.search(sentence, refused.stderr), refused.stderr
        slurm.output("scancel", job)
        slurm.wait_until(lambda: not slurm.output("squeue", "-h", "-j", job), "the job's end")
    done = subprocess.run(unlock, **options)
    assert done.returncode == 0, done.stderr
    ends_well(study)


def test_a_training_longer_than_its_time_limit_goes_on_in_the_next_job(study):
    """It is told before it is killed, saves its state, and the profile submits it again."""
    folder, _ = study
    pretrain = {"max_steps": STEPS, "workers": 0, "checkpoint_minutes": 60}
    settings = small.STUDY | {"study": "long", "pretrain": small.STUDY["pretrain"] | pretrain}
    (folder / "long.yaml").write_text(yaml.safe_dump(settings))
    weights = "results/long/models/tiny/model.safetensors"
    command = [sys.executable, "-m", "snakemake", *PROFILE, weights, "--configfile", "long.yaml"]
    limited = [*command, "--set-resources", "pretrain:runtime=1", "--retries", "1"]
    options = {"cwd": folder, "env": small.environment(), "capture_output": True, "text": True}
    run = subprocess.run(limited, **options)
    jobs = [job for job in slurm.recorded_jobs(folder) if "rule_pretrain" in job["Comment"]][-2:]
    assert run.returncode == 1 and {job["JobState"] for job in jobs} == {"TIMEOUT"}
    log = (folder / "results/long/logs/pretrain/tiny.log").read_text()
    second = re.search(rf"from step (\d+) to {STEPS}", log)
    stopped = re.search(r"stopped by signal \d+ after step (\d+); start again to go on", log)
    assert second and stopped and 0 < int(second[1]) < int(stopped[1]) < STEPS, log[-2000:]
    assert (folder / "results/long/checkpoints/tiny/last.safetensors").exists()
