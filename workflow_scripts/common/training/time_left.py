"""When the job of a cluster ends, for a training that nothing tells: it asks once, and then knows.

At a time limit SLURM signals Snakemake, which waits for its jobs; those below it are killed unasked
where processes are tracked by control groups, as they are on most clusters.
"""

import os
import re
import subprocess
import time

from workflow_scripts.common.job import log

ENOUGH = 120  # s to finish a step and save a state; a tenth of the time where that is less


def stop_time():
    """Return the time.monotonic() at which to save and stop, infinite where no limit is known."""
    left = seconds_left()
    if left is None:
        return float("inf")
    log.info("the job has %.1f h until its time limit", left / 3600)
    return time.monotonic() + left - min(ENOUGH, left / 10)


def seconds_left():
    """Return the seconds that SLURM leaves to the allocation of this process, or None."""
    number = os.environ.get("SLURM_JOB_ID")
    if number is None:
        return None
    command = ["squeue", "--noheader", "--format=%L", f"--jobs={number}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("when this job ends is not known (%s): its last state may be older", error)
        return None
    return parse(answer)


def parse(text):
    """Return the seconds of [[days-]hours:]minutes:seconds, None of UNLIMITED and anything else."""
    match = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
