"""Faults of a cluster, on a real SLURM of one node: results end as those of an undisturbed run."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.faults import small
from tests.workflow import slurm
from workflow_scripts.common.provenance import sha256

pytestmark = [pytest.mark.nightly, pytest.mark.fault]
PROFILE = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "2")
STEPS = 15_000  # a training that outlasts a time limit of one minute
# s; when a node returns, SLURM does not yet miss a job that began less than 20 s ago.
AWAY = 25


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


@pytest.fixture(scope="module")
def usual(study):
    """Return how many seconds the job of each rule took without a fault."""
    times = {rule_of(job): job["RunTime"].split(":") for job in slurm.recorded_jobs(study[0])}
    return {rule: int(m) * 60 + int(s) for rule, (_, m, s) in times.items()}


@pytest.fixture(params=["pretrain", "ingest"])
def running(study, usual, request, moment):
    """A run in which a job of one rule has run for a drawn share of its usual time."""
    folder, rule = study[0], request.param
    small.lose(folder, rule)
    run = small.start(folder, *PROFILE)
    slurm.wait_until(lambda: job_of(folder, rule), "the job", 180)
    time.sleep(moment * usual[rule])
    if job_of(folder, rule):
        yield folder, run, rule
        small.kill(small.processes(folder))
    else:
        run.wait(900)
        pytest.skip("the job had ended before it was struck; try another FAULTS_SEED")


def rule_of(job):
    """Return the rule of a job that SLURM recorded."""
    return re.match(r"rule_(\w+?)(_wildcards|$)", job["Comment"])[1]


def job_of(folder, rule):
    """Return the id of the cluster's running job of a rule, None if there is none."""
    for job in slurm.recorded_jobs(folder):
        if job["JobState"] == "RUNNING" and rule_of(job) == rule:
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
    time.sleep(AWAY)
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
    """It saves its state before, unasked, and the profile submits it again.

    With time enough the second job ends with the weights of a training that nothing stopped.
    """
    folder, _ = study
    pretrain = {"max_steps": STEPS, "workers": 0, "checkpoint_minutes": 60}
    settings = small.STUDY | {"study": "long", "pretrain": small.STUDY["pretrain"] | pretrain}
    (folder / "long.yaml").write_text(yaml.safe_dump(settings))
    weights = folder / "results/long/models/tiny/model.safetensors"
    command = [sys.executable, "-m", "snakemake", *PROFILE, str(weights.relative_to(folder))]
    command += ["--configfile", "long.yaml", "--set-resources"]

    def train(minutes):
        """Return the cluster's new jobs and the step from which the last of them began."""
        known = len(trainings())
        run = small.launch(folder, [*command, f"pretrain:runtime={minutes}"])
        assert run.wait(3600) == 0, (folder / "printed.txt").read_text()[-3000:]
        log = (folder / "results/long/logs/pretrain/tiny.log").read_text()
        return trainings()[known:], int(re.search(rf"from step (\d+) to {STEPS}", log)[1])

    def trainings():
        return [job for job in slurm.recorded_jobs(folder) if rule_of(job) == "pretrain"]

    jobs, first_step = train("1 if attempt == 1 else 60")
    assert [job["JobState"] for job in jobs] == ["FAILED", "COMPLETED"]
    printed = Path(jobs[0]["StdOut"]).read_text()
    stopped = re.search(
        r"stopped before its job's time limit after step (\d+); start again to go on", printed
    )
    assert stopped and 0 < int(stopped[1]) == first_step < STEPS, printed[-2000:]

    went_on = sha256(weights)
    shutil.rmtree(weights.parent)
    jobs, first_step = train("60")
    assert [job["JobState"] for job in jobs] == ["COMPLETED"] and first_step == 0
    assert sha256(weights) == went_on
