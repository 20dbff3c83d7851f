"""A pretraining job that a cluster stops in the middle goes on as if nothing had happened."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import tifffile
import yaml

from workflow_scripts.common.provenance import sha256

STEPS = 250  # a second or two
ACCESSIONS = ("P62736", "P07766", "P11836")
COHORT = {
    "id": "tiny",
    "title": "three small images",
    "access": "open",
    "source": {"folder": "images"},
    "reader": "stack_tiff",
    "layout": {"images": {"pattern": r"(?P<tissue>(?P<patient>p\d)_1)\.tiff$"}},
    "panel": [{"channel": accession, "uniprot": accession} for accession in ACCESSIONS],
}
STUDY = {
    "study": "stopped",
    "device": "cpu",
    "cohorts": ["own/tiny.yaml"],
    "cohort_threads": 1,
    "tissue": {"min_side": 32, "min_coverage": 0.0},
    "sub_images": {"side": 32},
    "markers": {"source": "table", "table": "own/markers.csv"},
    "model": {"width": 32, "feedforward": 64, "heads": 2, "encoder": "hv", "decoder": "f"},
    "pretrain": {
        "max_steps": STEPS,
        "batch": 4,
        "micro_batch": 2,
        "crop": 16,
        "workers": 0,
        "threads": 1,
        "log_every": 1,
    },
    "instances": [{"name": "tiny", "cohorts": "all"}],
    "models": ["tiny"],
    "embed": {"crop": 16, "stride": 8, "threads": 1},
}
RESULTS, WEIGHTS = "results/stopped", "results/stopped/models/tiny/model.safetensors"
COMMAND = ["--cores", "1", WEIGHTS, "--configfile", "study.yaml"]


@pytest.fixture
def workplace(checkout):
    folder = checkout("stopped")
    (folder / "own/images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for patient in range(1, 4):
        path = folder / f"own/images/p{patient}_1.tiff"
        image = rng.poisson(3, (3, 40, 40)).astype(np.float32)
        tifffile.imwrite(path, image, photometric="minisblack")
    table = pd.DataFrame(rng.normal(size=(3, 16)), columns=[f"d{i}" for i in range(16)])
    table.insert(0, "accession", ACCESSIONS)
    table.to_csv(folder / "own/markers.csv", index=False)
    (folder / "own/tiny.yaml").write_text(yaml.safe_dump(COHORT))
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return folder


def stop_in_the_middle(workplace, log):
    """Run snakemake and send SIGTERM to its training script after some steps.

    Returns the exit status and what was printed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *COMMAND],
        cwd=workplace,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        while process.poll() is None and not (log.exists() and "step 20/" in log.read_text()):
            time.sleep(0.01)
        assert process.poll() is None, process.stdout.read()[-3000:]
        [script] = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if child.name().startswith("python") and child.cmdline()[-1].endswith("pretrain.py")
        ]
        script.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, output


def test_a_stopped_job_goes_on_and_ends_with_the_same_weights(workplace, snakemake):
    log, weights = workplace / RESULTS / "logs/pretrain/tiny.log", workplace / WEIGHTS
    checkpoints = workplace / RESULTS / "checkpoints/tiny"
    returncode, output = stop_in_the_middle(workplace, log)
    assert returncode != 0 and "Traceback" not in output, output[-3000:]
    match = re.search(r"stopped by signal 15 after step (\d+); start again to go on", output)
    assert match and match[0] in log.read_text(), output[-3000:]
    stopped = int(match[1])
    assert 20 <= stopped < STEPS
    assert [path.name for path in checkpoints.iterdir()] == ["latest.safetensors"]
    assert not list((workplace / RESULTS / "models").rglob("*"))

    again = snakemake(workplace, *COMMAND)
    assert again.returncode == 0, again.stderr[-3000:]
    assert f"training on cpu in fp32 from step {stopped} to {STEPS}" in log.read_text()
    assert f"step {stopped}/" not in log.read_text() and f"step {STEPS}/{STEPS}" in log.read_text()
    resumed = sha256(weights)

    assert not checkpoints.exists()  # a finished run needs none
    whole = snakemake(workplace, *COMMAND, "--forcerun", "pretrain")
    assert whole.returncode == 0, whole.stderr[-3000:]
    assert f"from step 0 to {STEPS}" in log.read_text()
    assert sha256(weights) == resumed
