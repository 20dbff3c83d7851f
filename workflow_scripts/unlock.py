"""Unlock the folder after a run was killed, but not while anything still writes into it.

make unlock
"""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from workflow_scripts.common.cluster import jobs_of
from workflow_scripts.common.failures import is_snakemake

LOCKS = Path(".snakemake/locks")


def running(folder):
    """Return the ids of the Snakemakes of this machine that schedule jobs in `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            # With --mode it runs one job, maybe one of the cluster, which the queue lists.
            runs = is_snakemake(process) and "--mode" not in process.cmdline()
            if runs and process.cwd() == str(folder):
                found.append(process.pid)
        except psutil.Error:  # it has just ended, or belongs to someone else
            continue
    return found


def main():
    """Unlock the current folder, or say what still runs; further options go to Snakemake."""
    folder = Path.cwd()
    if not any(LOCKS.glob("*.lock")):
        print(f"{folder} is not locked.")
        return
    processes, jobs = running(folder), jobs_of(folder)
    if processes:
        numbers = " ".join(map(str, processes))
        sys.exit(
            f"{folder}: locked by a run that is going on (process {numbers}); wait for its end, or "
            f"stop it with `kill -INT {processes[0]}` and try again."
        )
    if jobs:
        numbers = " ".join(jobs)
        sys.exit(
            f"{folder}: jobs of a run that is gone still write into it ({numbers}); wait for their "
            f"end, or stop them with `scancel {numbers}` and try again."
        )
    # Two machines that share the folder do not see each other's processes.
    print(f"No run on {os.uname().nodename} and no cluster job of yours works in {folder}.")
    command = [sys.executable, "-m", "snakemake", "--unlock", "--cores", "1"]
    sys.exit(subprocess.run([*command, *sys.argv[1:]]).returncode)


if __name__ == "__main__":
    main()
