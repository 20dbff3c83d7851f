"""The whole embedded study through a real SLURM of one node, from an empty folder to the report."""

import json
from collections import Counter

import pytest

from tests.workflow import slurm
from workflow_scripts.common.mock import planned_jobs

pytestmark = pytest.mark.nightly
OFTEN = ("--slurm-init-seconds-before-status-checks", "5")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    try:
        with slurm.one_node_cluster(tmp_path_factory.mktemp("slurm")):
            yield
    except slurm.Unavailable as reason:
        pytest.skip(str(reason))


def test_the_embedded_study_runs_to_its_report(cluster, checkout, snakemake):
    folder = checkout("study")
    command = ("--profile", "slurm", "all", "--configfile", "demo/study.yaml", *OFTEN)
    run = snakemake(folder, *command, timeout=4 * 3600)
    assert run.returncode == 0, run.stderr[-4000:]
    states = Counter(job["JobState"] for job in slurm.recorded_jobs(folder))
    planned = planned_jobs([folder / "demo/study.yaml"])
    remote = [job for job in planned if not job.rule.is_local]
    print(f"{states['COMPLETED']} jobs of the cluster, {len(planned) - len(remote)} on this side")
    assert set(states) == {"COMPLETED"} and states["COMPLETED"] == len(remote)
    assert (folder / "results/demo/report/index.html").stat().st_size > 10_000
    for path in (folder / "results/demo/figures").glob("*/numbers.json"):
        assert json.loads(path.read_text())["status"]
    again = snakemake(folder, *command, "-n")
    assert "Nothing to be done" in again.stdout + again.stderr
