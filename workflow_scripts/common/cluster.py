"""Whether the cluster that jobs are meant for is there, and what of ours is in its queue."""

import os
import re
import shutil
import subprocess

from workflow_scripts.common.errors import InputError

# Snakemake names the jobs of a run by a prefix of the profile and a UUID.
SUBMITTED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
# SLURM's programs are installed, and nothing says of which cluster: not to be waited for.
NO_CLUSTER = "Could not establish a configuration source"


def check_slurm(wanted):
    """Raise InputError unless SLURM answers and has every partition that is asked for.

    `wanted`: {rule: partition, or several with commas}, of the rules that name one.
    """
    if not shutil.which("sbatch"):
        raise InputError(
            "this machine has no SLURM: `sbatch` is not in PATH; start on a login node of your "
            "cluster, or without one: snakemake --cores 8 all"
        )
    # -a: jobs may go to a partition that is hidden, too.
    listed = subprocess.run(["sinfo", "-a", "-h", "-o", "%R"], capture_output=True, text=True)
    if listed.returncode != 0:
        raise _silent(listed, "`sinfo` lists partitions")
    partitions = sorted(set(listed.stdout.split()))
    for rule, asked in wanted.items():
        for partition in str(asked).split(","):
            if partition not in partitions:
                raise InputError(
                    f"slurm/config.yaml: rule {rule} asks for partition {partition}, but this "
                    f"cluster has {', '.join(partitions)}; correct slurm_partition"
                )


def jobs_of(folder):
    """Return {id: name} of the user's jobs in the queue that were submitted from `folder`.

    The job in which this process runs is none of them. Empty where there is no cluster; an
    InputError where there is one that does not answer, as its jobs may be writing.
    """
    if not shutil.which("squeue"):
        return {}
    command = ["squeue", "--me", "-h", "-o", "%A\t%t\t%j\t%Z"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if NO_CLUSTER in listed.stderr:
        return {}
    if listed.returncode != 0:
        raise _silent(listed, "`squeue --me` lists jobs")
    jobs = [line.split("\t") for line in listed.stdout.splitlines()]
    around = os.environ.get("SLURM_JOB_ID")
    # CG: it has ended, and the node is being cleaned up.
    ours = {
        number: name
        for number, state, name, where in jobs
        if where == str(folder) and state != "CG" and number != around
    }
    return dict(sorted(ours.items(), key=lambda job: int(job[0])))


def refuse_orphans(jobs):
    """Raise InputError if an earlier run left some of `jobs`: two would write the same.

    `jobs`: {id: name}. A shell, or a job in which Snakemake itself runs, is no orphan: Snakemake's
    own lock keeps two of those apart.
    """
    numbers = " ".join(number for number, name in jobs.items() if SUBMITTED.search(name))
    if numbers:
        raise InputError(
            f"jobs of an earlier run of this folder are still in the queue: {numbers}; wait for "
            f"their end, or stop them with `scancel {numbers}`, then start again"
        )


def _silent(answer, sign):
    said = answer.stderr.strip().split("\n")[0]
    return InputError(f"SLURM does not answer: {said}; try again when {sign}")
