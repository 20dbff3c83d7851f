"""What to say of a failure that is no fault of the code, and when to end without being asked."""

import errno
import logging
import os
import signal
import threading
import time
import traceback

import psutil

log = logging.getLogger("virtues")

PLACES = {
    errno.ENOSPC: "no room is left on its disk; make room",
    errno.EDQUOT: "your quota of its disk is used up; make room",
    errno.EROFS: "its file system can only be read; have it mounted for writing",
    errno.EACCES: "writing or reading it is not permitted; correct the permissions",
    errno.EFBIG: "a file there may not grow further; raise the limit (ulimit -f)",
}


# Bytes read to look for damage. A training has hundreds of gigabytes of inputs, and holds its GPU.
LOOKED_AT = 2e9

# Half of it needs half the memory, and neither changes a number.
FULL_GPU = (
    "the memory of the GPU is used up; halve pretrain.micro_batch for a training, which goes on "
    "from its last state, or embed.batch for other jobs, until it fits, and start again."
)


def explain(error, inputs, outputs):
    """Return one sentence for a full disk or GPU, or a damaged input, or None.

    `inputs` and `outputs`: paths of the job's files. Damage is looked for in the smallest inputs;
    the log says first what failed and where, and which inputs were too large to look at.
    """
    for one in _chain(error):
        if type(one).__name__ == "OutOfMemoryError":  # of torch, which few jobs import
            return FULL_GPU
        number = _number(one)
        if number in PLACES:
            path = getattr(one, "filename", None) or (outputs[0] if outputs else "the results")
            return f"{path}: {PLACES[number]} and start again; what is complete is kept."
    if not inputs:
        return None
    # Before the look, in which the job may be killed; no traceback yet, as damage needs none.
    log.warning("%s; looking for damaged inputs", "; from ".join(map(_told, _chain(error))))
    from workflow_scripts.common.damage import damaged  # libraries that few jobs need

    found = damaged(inputs, LOOKED_AT)
    if found:
        path, file, reason = found
        return f"{file}: damaged or cut short ({reason}); delete {path} and start again."
    return None


def _chain(error):
    """Yield an error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _told(error):
    """Return in one line what an error says and the places of the code that it went through."""
    text = f"{type(error).__name__}: {error}".split("\n")[0]
    frames = traceback.extract_tb(error.__traceback__)
    places = (f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames)
    return f"{text} ({' '.join(places)})"


def _number(error):
    """Return the system's number of an error; libraries in other languages only print it."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    return next((n for n in PLACES if f"(os error {n})" in str(error)), None)


def end_with_scheduler(seconds=1.0):
    """End this process like one that is asked to stop when what started it is gone.

    That is Snakemake and the programs between. A killed scheduler leaves its jobs behind, and
    they must not write into results that the next run is writing too. A training saves its state.
    """
    parents = psutil.Process().parents()
    snakemake = next((n for n, parent in enumerate(parents) if is_snakemake(parent)), None)
    if snakemake is None:
        return  # started by hand

    def watch():
        while all(map(_alive, parents[: snakemake + 1])):
            time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def is_snakemake(process):
    """Tell whether a process is Snakemake itself: `.../snakemake` or `python -m snakemake`."""
    try:
        return any(os.path.basename(word) == "snakemake" for word in process.cmdline()[:3])
    except psutil.Error:
        return False


def _alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
