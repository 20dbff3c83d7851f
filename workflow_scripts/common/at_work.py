"""Whether anything works in a folder: a Snakemake of this machine, or jobs of the cluster."""

import psutil

from workflow_scripts.common.cluster import jobs_of
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.failures import is_snakemake


def schedulers(folder):
    """Return the Snakemakes of this machine that schedule jobs in `folder`, as processes."""
    found = []
    for process in psutil.process_iter():
        try:
            # With --mode it runs one job, maybe one of the cluster, which the queue lists.
            runs = is_snakemake(process) and "--mode" not in process.cmdline()
            if runs and process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:  # it has just ended, or belongs to someone else
            continue
    return found


def at_work(folder):
    """Return (what works in `folder`, the command that stops it), or None if nothing does.

    What this process is part of does not count, a Snakemake or a job of the cluster. All other jobs
    that were submitted from there do: a Snakemake may run in any of them.
    """
    parents = {parent.pid for parent in psutil.Process().parents()}
    processes = [one.pid for one in schedulers(folder) if one.pid not in parents]
    if processes:
        return f"a run (process {' '.join(map(str, processes))})", f"kill -INT {processes[0]}"
    jobs = " ".join(jobs_of(folder))
    return (f"jobs in the cluster's queue ({jobs})", f"scancel {jobs}") if jobs else None


def refuse_at_work(folder):
    """Raise InputError if anything works in `folder`."""
    if found := at_work(folder):
        what, stop = found
        raise InputError(
            f"{folder}: in use by {what}; wait for the end, or stop it with `{stop}`, and try again"
        )
