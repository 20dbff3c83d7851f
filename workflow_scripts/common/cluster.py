"""Whether the cluster that jobs are meant for is there, before the first one is submitted."""

import shutil
import subprocess

from workflow_scripts.common.errors import InputError


def check_slurm(wanted):
    """Raise InputError unless SLURM answers and has every partition that is asked for.

    `wanted`: {rule: partition, or several with commas}, of the rules that name one.
    """
    if not shutil.which("sbatch"):
        raise InputError(
            "this machine has no SLURM: `sbatch` is not in PATH; start on a login node of your "
            "cluster, or without one: snakemake --cores 8 all"
        )
    listed = subprocess.run(["sinfo", "-h", "-o", "%R"], capture_output=True, text=True)
    if listed.returncode != 0:
        said = listed.stderr.strip().split("\n")[0]
        raise InputError(f"SLURM does not answer: {said}; try again when `sinfo` lists partitions")
    partitions = sorted(set(listed.stdout.split()))
    for rule, asked in wanted.items():
        for partition in str(asked).split(","):
            if partition not in partitions:
                raise InputError(
                    f"slurm/config.yaml: rule {rule} asks for partition {partition}, but this "
                    f"cluster has {', '.join(partitions)}; correct slurm_partition"
                )


def jobs_of(folder):
    """Return the ids of the user's jobs in the queue that were submitted from `folder`.

    Empty where there is no SLURM, or none that answers.
    """
    if not shutil.which("squeue"):
        return []
    command = ["squeue", "--me", "-h", "-o", "%A %t %Z"]
    listed = subprocess.run(command, capture_output=True, text=True)
    jobs = [line.split(" ", 2) for line in listed.stdout.splitlines()]
    # CG: it has ended, and the node is being cleaned up.
    ours = {number for number, state, where in jobs if where == str(folder) and state != "CG"}
    return sorted(ours, key=int)


def refuse_orphans(jobs):
    """Raise InputError if `jobs` of an earlier run are in the queue: two would write the same."""
    if jobs:
        numbers = " ".join(jobs)
        raise InputError(
            f"jobs of an earlier run of this folder are still in the queue: {numbers}; wait for "
            f"their end, or stop them with `scancel {numbers}`, then start again"
        )
