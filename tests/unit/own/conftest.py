"""An own cohort put through all of its rules, in one process."""

import contextlib
from importlib import import_module
from pathlib import Path

import pytest

from tests.own_study import write_study
from workflow_scripts.common.mock import ROOT, planned_jobs, snakemake_object


def run_jobs(study, cohort, place, wanted=None):
    """Run the scripts of all jobs of own_cohort in the folder `place`, in an order that works."""
    jobs = planned_jobs([study], {"cohort": str(cohort)}, target="own_cohort")
    jobs = [job for job in jobs if job.rule.script]
    with contextlib.chdir(place):
        while jobs:
            ready = [job for job in jobs if all(Path(path).exists() for path in job.input)]
            assert ready, [job.rule.name for job in jobs]
            for job in ready:
                for path in job.output:
                    Path(path).parent.mkdir(parents=True, exist_ok=True)
                script = (ROOT / "rules" / job.rule.script).resolve().relative_to(ROOT)
                module = import_module(".".join(script.with_suffix("").parts))
                module.main(snakemake_object(job))
                jobs.remove(job)


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """Return the folder results/own/mine of a finished run."""
    place = tmp_path_factory.mktemp("own")
    study = write_study(place / "study")
    run_jobs(study, place / "study/mine.yaml", place)
    return place / "results/own/mine"
