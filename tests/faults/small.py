"""A study that runs in seconds, and the same results on every run: what faults are tried on."""

import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import tifffile
import yaml

from workflow_scripts.common.provenance import sha256

NAME = "small"
ACCESSIONS = ("P62736", "P07766", "P11836")
COHORT = {
    "id": "tiny",
    "title": "three small images",
    "access": "open",
    "reader": "stack_tiff",
    "layout": {
        "images": {"archive": "images.zip", "pattern": r"(?P<tissue>(?P<patient>p\d)_1)\.tiff$"}
    },
    "panel": [{"channel": accession, "uniprot": accession} for accession in ACCESSIONS],
}
STUDY = {
    "study": NAME,
    "device": "cpu",
    "archives": f"results/{NAME}/archives",
    "cohorts": ["own/tiny.yaml"],
    "cohort_threads": 1,
    "tissue": {"min_side": 32, "min_coverage": 0.0},
    "sub_images": {"side": 32},
    "markers": {"source": "table", "table": "own/markers.csv"},
    "model": {"width": 32, "feedforward": 64, "heads": 2, "encoder": "hv", "decoder": "f"},
    "pretrain": {
        "max_steps": 80,
        "batch": 4,
        "micro_batch": 2,
        "crop": 16,
        "workers": 1,
        "threads": 1,
        "log_every": 10,
        "checkpoint_minutes": 0.005,
    },
    "instances": [{"name": "tiny", "cohorts": "all"}],
    "models": ["tiny"],
    "embed": {"crop": 16, "stride": 8, "threads": 1},
}
RESULTS = Path("results") / NAME
TARGETS = (f"{RESULTS}/figures/loss_curves/numbers.json", f"{RESULTS}/embeddings/tiny/tiny")
# What each job makes, in the order of the workflow: losing it makes the job and those after it due.
MADE = {
    "retrieve": "archives/tiny",
    "ingest": "ingest/tiny",
    "split": "cohorts/tiny/metadata",
    "preprocess": "cohorts/tiny/imc",
    "embed_markers": "markers",
    "pretrain": "models/tiny",
    "embed": "embeddings/tiny",
    "loss_curves": "figures/loss_curves",
}
# Times, versions of the machine and messages: no results, and different on every run.
EXEMPT = ("logs", "benchmarks", "checkpoints", "tensorboard")
EXEMPT_FILES = ("metrics.json", "manifest.json", "retrieved.json", ".snakemake_timestamp")


def write_study(folder, source=None):
    """Write the study's images, cohort and settings into a checkout."""
    own = folder / "own"
    own.mkdir()
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(own / "images.zip", "w") as archive:
        for patient in range(1, 4):
            path = own / f"p{patient}_1.tiff"
            image = rng.poisson(3, (3, 40, 40)).astype(np.float32)
            tifffile.imwrite(path, image, photometric="minisblack")
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
            path.unlink()
    file = {"name": "images.zip", "url": (own / "images.zip").as_uri()} | (source or {})
    file |= {"sha256": sha256(own / "images.zip"), "size": (own / "images.zip").stat().st_size}
    table = pd.DataFrame(rng.normal(size=(3, 16)), columns=[f"d{i}" for i in range(16)])
    table.insert(0, "accession", ACCESSIONS)
    table.to_csv(own / "markers.csv", index=False)
    (own / "tiny.yaml").write_text(yaml.safe_dump(COHORT | {"source": {"files": [file]}}))
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))


def command(*options, targets=TARGETS):
    """Return the command that makes the study's results."""
    wanted = [sys.executable, "-m", "snakemake", "--cores", "2", *targets]
    return [*wanted, "--rerun-incomplete", "--configfile", "study.yaml", *options]


def environment():
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}


def heed_interrupts():
    """Let Ctrl-C reach what is started from here, also where a shell runs it in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(folder, *options, **more):
    """Start Snakemake for the study's results."""
    return launch(folder, command(*options), **more)


def launch(folder, words, **more):
    """Start a command in a session of its own; what it prints goes to `printed.txt`."""
    heed_interrupts()
    with open(folder / "printed.txt", "w") as printed:
        return subprocess.Popen(
            words,
            cwd=folder,
            env=environment(),
            stdout=printed,
            stderr=printed,
            start_new_session=True,
            **more,
        )


def run(folder, *options, **more):
    """Run Snakemake to its end; return its exit status and what it printed."""
    status = start(folder, *options, **more).wait(1800)
    return status, (folder / "printed.txt").read_text()


def lose(folder, rule):
    """Remove what a rule and all after it have made, so that there is something to do."""
    for name in list(MADE)[list(MADE).index(rule) :]:
        made = folder / RESULTS / MADE[name]
        shutil.rmtree(made) if made.is_dir() else made.unlink(missing_ok=True)


def results(folder):
    """Return {path: (sha256, bytes)} of every result that is there under its name."""
    return {
        str(path.relative_to(folder / RESULTS)): (sha256(path), path.stat().st_size)
        for path in sorted((folder / RESULTS).rglob("*"))
        if path.is_file() and counts(path.relative_to(folder / RESULTS))
    }


def counts(path):
    """Tell whether a path below the results is one of a result."""
    unfinished = any(part.startswith(".") and "part" in part for part in path.parts)
    return path.parts[0] not in EXEMPT and path.name not in EXEMPT_FILES and not unfinished


def unfinished(folder):
    """Return the temporary files that are left."""
    return [p for p in (folder / RESULTS).rglob("*") if p.name.endswith((".part", ".partial"))]


def processes(folder):
    """Return all processes that work in `folder`: Snakemake, its jobs and their workers."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def scripts(folder):
    """Return the processes of running jobs: the scripts themselves, not what they started."""
    found = []
    for process in processes(folder):
        try:
            words = process.cmdline()
            python = bool(words) and Path(words[0]).name.startswith("python")
            child = process.parent() and process.parent().cmdline() == words
            if python and "/.snakemake/scripts/" in words[-1] and not child:
                found.append(process)
        except psutil.Error:
            continue
    return found


def workers(folder):
    """Return what running jobs have started: loader processes."""
    return [child for script in scripts(folder) for child in script.children(recursive=True)]


def kill(found, number=signal.SIGKILL):
    """Send a signal to processes, of which some may just have ended."""
    for process in found:
        try:
            process.send_signal(number)
        except psutil.Error:
            continue
    return found


def delete_what_is_named(folder, file, printed):
    """Do what the message about a damaged `file` of the results says; ValueError if there is none.

    It names the file, or the store that it is part of, and the path to delete.
    """
    store = file[: file.index(".zarr") + 5] if ".zarr" in file else file
    told = re.search(rf"{re.escape(f'{RESULTS}/{store}')}\S*: .*?(?:delete|remove) (\S+) ", printed)
    if not told:
        raise ValueError(f"{file} is not named: {printed[-1500:]}")
    path = folder / RESULTS / file if told[1] == "it" else folder / told[1]
    shutil.rmtree(path) if path.is_dir() else path.unlink()
