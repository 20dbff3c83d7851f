"""The whole embedded study through a real SLURM of one node, from an empty folder to the report."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.workflow import slurm
from workflow_scripts.common.mock import planned_jobs
from workflow_scripts.common.targets import load_targets, numbered

pytestmark = pytest.mark.nightly
NIGHT = 10 * 3600
OFTEN = ("--slurm-init-seconds-before-status-checks", "5")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    try:
        with slurm.one_node_cluster(tmp_path_factory.mktemp("slurm")):
            yield
    except slurm.Unavailable as reason:
        pytest.skip(str(reason))


def test_the_embedded_study_runs_to_its_report(cluster, checkout, snakemake):
    folder, started = checkout("study"), time.monotonic()
    command = ("--profile", "slurm", "all", "--configfile", "demo/study.yaml", *OFTEN)
    run = snakemake(folder, *command, timeout=NIGHT)
    planned = planned_jobs([folder / "demo/study.yaml"])
    remote = [job for job in planned if slurm.goes_to_the_cluster(job)]
    submitted = slurm.recorded_jobs(folder)
    states = Counter(job["JobState"] for job in submitted)
    again = len(submitted) - len({job["Comment"] for job in submitted})
    print(
        f"{len(planned)} jobs, {len(planned) - len(remote)} of them on this side; {len(submitted)} "
        f"submitted, {again} of them for the second time; ended as {dict(states)}; "
        f"{(time.monotonic() - started) / 60:.0f} min"
    )
    assert run.returncode == 0, run.stderr[-4000:]
    # On a busy machine a job may reach its time limit; then it was submitted again.
    assert states["COMPLETED"] == len(remote) == len(submitted) - again
    assert (folder / "results/demo/report/index.html").stat().st_size > 10_000
    made = {Path(path) for job in planned for path in job.output if "/figures/" in path}
    targets = {path.parent.name for path in made if path.name == "numbers.json"}
    records = {
        path.parent.name: json.loads(path.read_text())
        for path in (folder / "results/demo/figures").glob("*/numbers.json")
    }
    assert set(records) == targets and len(targets) >= len(numbered(load_targets()))
    without = {name for name, record in records.items() if record["status"] != "done"}
    assert without == {"figS14"}  # the panels have no further marker of its group
    again = snakemake(folder, *command, "-n")
    assert "Nothing to be done" in again.stdout + again.stderr
