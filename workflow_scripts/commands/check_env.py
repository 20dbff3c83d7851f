"""Say what this machine offers the study: packages, GPU, attention, disk, cluster, lock."""

import logging
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from virtues_core.attention.api import BACKENDS, select
from virtues_core.attention.missing import compiler
from workflow_scripts.common.at_work import at_work, schedulers
from workflow_scripts.common.device import check_device
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "envs" / "requirements.lock"
FREE = 10e9  # bytes; less is worth a warning


def packages(lock=LOCK):
    """Return (line, problem): whether the packages of the lock file are those that are installed.

    A problem is a sentence or None, here and below.
    """
    lines = [line.partition("#")[0].partition(";")[0] for line in lock.read_text().splitlines()]
    wanted = dict(map(str.strip, line.split("==")) for line in lines if "==" in line)
    other = []
    for name, number in wanted.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "absent"
        if found.partition("+")[0] != number:  # a CUDA build is 2.0+cu126
            other.append(f"{name} {found}, not {number}")
    line = f"packages: Python {platform.python_version()}, {len(wanted)} in the lock file"
    if not other:
        return f"{line}, all installed", None
    shown = "; ".join(other[:5]) + ("" if len(other) < 6 else f"; {len(other) - 5} more")
    return f"{line}, {len(other)} differ: {shown}", None


def device(wanted):
    """Return (line, problem) on the GPU and on what torch was built for."""
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for the CPU alone"
    built = f"torch {torch.__version__} built {built}"
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        named = ", ".join(f"{card.name} with {card.total_memory / 1e9:.0f} GB" for card in cards)
    else:
        named = "no GPU is seen"
    try:
        check_device(wanted)
        problem = None
    except InputError as error:
        problem = str(error)
    return f"device: {wanted} is asked for; {named}; {built}", problem


def attention(wanted, on, width):
    """Return (line, problem): the attention backend and why the others were passed over.

    `wanted`: model.attention; `on`: the study's device; `width`: features of a head.
    """
    here = torch.cuda.is_available() and on == "cuda"
    kind = ("cuda" if here else "cpu", torch.float16 if here else torch.float32, width)
    said = {name: backend.missing(*kind) for name, backend in BACKENDS.items()}
    lacking = "; ".join(f"{name}: {why}" for name, why in said.items() if why)
    try:
        probe = torch.empty(1, 1, 1, width, dtype=kind[1], device=kind[0])
        chosen = select(wanted, probe).__name__.rpartition(".")[2]
    except ValueError as error:
        return f"attention: {wanted} is asked for", f"model.attention: {error}"
    return f"attention: {wanted} is {chosen}" + (f" ({lacking})" if lacking else ""), None


def disk(folder, what):
    """Return (line, problem) on the room in a folder, there or not, and whether it is writable."""
    here = Path(folder).resolve()
    while not here.exists():
        here = here.parent
    free = shutil.disk_usage(here).free
    line = f"disk: {free / 1e9:,.1f} GB free for {what} in {folder}"
    if not os.access(here, os.W_OK):
        return line, f"{here}: cannot be written to; change its rights, or set another folder"
    return line + ("" if free > FREE else ", which is little"), None


def cluster():
    """Return (line, None) on SLURM, which a study can do without."""
    if not shutil.which("sbatch"):
        return "cluster: no SLURM on this machine; jobs run here", None
    answer = _said(["scontrol", "show", "config"])
    facts = dict(
        (part.strip() for part in line.split("=", 1)) for line in answer.splitlines() if "=" in line
    )
    storage = facts.get("AccountingStorageType", "unknown")
    accounting = (
        "no accounting, which the profile does not need"
        if storage.endswith("none")
        else f"accounting by {storage}"
    )
    age = facts.get("MinJobAge", "unknown")
    return (
        f"cluster: {_said(['sbatch', '--version']) or 'SLURM'}; {accounting}; MinJobAge {age}",
        None,
    )


def tools():
    """Return (line, None) on programs that some ways to run the study need."""
    names = {"conda": "--sdm conda", "apptainer": "--sdm apptainer"}
    parts = [
        f"{name} {'found' if shutil.which(name) else 'absent'} (for {use})"
        for name, use in names.items()
    ]
    lack = compiler()
    parts.append(f"torch.compile can work: {'yes' if lack is None else f'no, {lack}'}")
    return f"tools: {', '.join(parts)}", None


def lock(folder=Path(".")):
    """Return (line, problem) on a lock that an earlier run of Snakemake may have left."""
    folder = folder.resolve()
    if not any((folder / ".snakemake" / "locks").glob("*.lock")):
        return "lock: none of another run", None
    found = silence = None
    try:
        found = at_work(folder)
    except InputError as error:
        silence = str(error)
    if found:
        return f"lock: held, and the folder is in use by {found[0]}", None
    # That of the run which asks, unless it left the folder unlocked.
    if any("--nolock" not in one.cmdline() for one in schedulers(folder)):
        return "lock: none of another run", None
    if silence:
        return "lock: held, and whether cluster jobs go on is not known", silence
    return "lock: held, and nothing runs here", (
        f"{folder}: an earlier run was killed and left its lock; make sure that it does not run on "
        "another machine, then: make unlock"
    )


def _said(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def main(snakemake):
    """Print one line per fact; an InputError names what keeps the study from running."""
    params = snakemake.params
    # What a choice of backend logs stands in the one line about attention.
    logging.getLogger("virtues_core.attention.api").setLevel(logging.ERROR)
    answers = [
        packages(),
        device(params.device),
        attention(params.attention, params.device, params.head_width),
        disk(params.results, "results"),
        disk(params.archives, "downloads"),
        cluster(),
        tools(),
        lock(),
    ]
    for line, _ in answers:
        log.info("%s", line)
    problems = [problem for _, problem in answers if problem]
    for problem in problems[1:]:
        log.error("%s", problem)
    if problems:
        raise InputError(problems[0])
    log.info("This study can run here.")


if __name__ == "__main__":
    run(main, globals())
