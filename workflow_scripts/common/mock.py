"""The workflow's jobs without running them: for a script by hand, and for tests."""

import argparse
import contextlib
import os
import sys
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Snakemake
from snakemake.settings.enums import RerunTrigger
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)

ROOT = Path(__file__).resolve().parents[2]
TRIGGERS = RerunTrigger.all() - {RerunTrigger.CODE}


def planned_jobs(configfiles=(), overrides=None, target="all", pending=False):
    """Return every job of the graph of `target`, one or a list, as Snakemake would run it.

    `configfiles`: overlays of config.yaml; `overrides`: a mapping merged over them; `pending`:
    only the jobs that are still to be run, by the triggers of the profiles.
    """
    with contextlib.chdir(ROOT), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        plan = api.workflow(
            resource_settings=ResourceSettings(cores=1024),  # no rule's threads are cut
            config_settings=ConfigSettings(
                config=overrides or {}, configfiles=[Path(file).resolve() for file in configfiles]
            ),
            snakefile=ROOT / "Snakefile",
        )
        workflow = plan._workflow
        plan.dag(DAGSettings(rerun_triggers=TRIGGERS))
        workflow.dag_settings.targets = {target} if isinstance(target, str) else set(target)
        workflow._prepare_dag(
            forceall=not pending, ignore_incomplete=True, lock_warn_only=True, nolock=True
        )
        workflow._build_dag()
        return list(workflow.dag.needrun_jobs() if pending else workflow.dag.jobs)


def snakemake_from_command_line(rule, arguments):
    """Return the `snakemake` object of a rule's job, as its script would get it.

    `arguments`: wildcards as `cohort=x`, and `--configfile` with overlays of config.yaml.
    """
    parser = argparse.ArgumentParser(description=f"run the script of rule {rule} by hand")
    parser.add_argument("wildcards", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--configfile", nargs="+", default=[])
    parsed = parser.parse_args(arguments)
    wanted = dict(item.split("=", 1) for item in parsed.wildcards)
    try:
        jobs = planned_jobs(parsed.configfile)
    except WorkflowError as error:
        sys.exit(str(error))
    for job in jobs:
        if job.rule.name == rule and wanted.items() <= job.wildcards_dict.items():
            os.chdir(ROOT)
            for path in job.output:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            return snakemake_object(job)
    parser.error(f"no job of rule {rule} has {wanted or 'these wildcards'} in this study")


def snakemake_object(job):
    """Return what a script of this job finds as `snakemake`."""
    return Snakemake(
        job.input,
        job.output,
        job.params,
        job.wildcards,
        job.threads,
        job.resources,
        job.log,
        job.rule.workflow.config,
        job.rule.name,
        None,
        str(ROOT / "workflow_scripts"),
    )
