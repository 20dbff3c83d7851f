"""A pretraining job that a cluster stops in the middle goes on as if nothing had happened."""

import json
import os
import re
import shutil
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
CURVES = "results/stopped/figures/loss_curves/numbers.json"
COMMAND = ["--cores", "2", WEIGHTS, "--configfile", "study.yaml", "operation.yaml"]


@pytest.fixture(scope="module")
def workplace(checkout, snakemake):
    """A small study whose training has run once without a break."""
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
    operate(folder)
    whole = snakemake(folder, *COMMAND[:2], CURVES, *COMMAND[2:])
    assert whole.returncode == 0, whole.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def unbroken(workplace):
    """The hash of the unbroken training's weights, and its losses."""
    return sha256(workplace / WEIGHTS), losses_of(workplace)


def operate(workplace, **settings):
    """Set how the next training is operated; its numbers do not depend on it."""
    (workplace / "operation.yaml").write_text(yaml.safe_dump({"pretrain": settings}))
    shutil.rmtree(workplace / RESULTS / "models", ignore_errors=True)
    log_of(workplace).unlink(missing_ok=True)


def log_of(workplace):
    return workplace / RESULTS / "logs/pretrain/tiny.log"


def losses_of(workplace):
    return json.loads((workplace / WEIGHTS).with_name("metrics.json").read_text())["losses"]


def stop_after(workplace, step, send):
    """Run snakemake and call `send(training script)` when its log shows `step`.

    Returns the exit status, what was printed and the processes that the script had started.
    """
    log = log_of(workplace)
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
        while process.poll() is None and not (log.exists() and f"step {step}/" in log.read_text()):
            time.sleep(0.01)
        assert process.poll() is None, process.stdout.read()[-3000:]
        [script] = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if child.name().startswith("python") and child.cmdline()[-1].endswith("pretrain.py")
        ]
        started = script.children(recursive=True)
        send(script)
        output, _ = process.communicate(timeout=900)
    finally:
        process.kill()
    return process.returncode, output, started


def terminate_all(script):
    """Signal all processes of the job, as a cluster does."""
    for process in [*script.children(recursive=True), script]:
        process.send_signal(signal.SIGTERM)


def kill_all(script):
    for process in [script, *script.children(recursive=True)]:
        process.kill()


def resumed_at(workplace, snakemake):
    """Start again, let the training end and return the step from which it went on."""
    again = snakemake(workplace, *COMMAND)
    assert again.returncode == 0, again.stderr[-3000:]
    log = log_of(workplace).read_text()
    assert f"step {STEPS}/{STEPS}" in log
    assert not (workplace / RESULTS / "checkpoints/tiny").exists()  # a finished run needs none
    return int(re.search(rf"training on cpu in fp32 from step (\d+) to {STEPS}", log)[1])


def test_the_losses_of_a_training_are_drawn(workplace, unbroken):
    numbers = json.loads((workplace / CURVES).read_text())["numbers"]
    assert numbers["last_loss_tiny"]["value"] == pytest.approx(np.mean(unbroken[1][-10:]))
    assert unbroken[0] in numbers["last_loss_tiny"]["weights"]
    table = pd.read_csv((workplace / CURVES).with_name("source_data.csv"))
    np.testing.assert_allclose(table["loss"], unbroken[1], rtol=1e-6)  # a point for every step


@pytest.mark.fault
def test_a_stopped_job_goes_on_and_ends_with_the_same_weights(workplace, unbroken, snakemake):
    operate(workplace, workers=1)
    returncode, output, _ = stop_after(workplace, 20, terminate_all)
    log = log_of(workplace).read_text()
    assert returncode != 0 and "Traceback" not in output, output[-3000:]
    match = re.search(r"stopped by signal 15 after step (\d+); start again to go on\n", output)
    assert match and match[0] in log, output[-3000:]
    stopped = int(match[1])
    assert 20 <= stopped < STEPS
    states = (workplace / RESULTS / "checkpoints/tiny").iterdir()
    assert {path.name for path in states} == {"last.safetensors", "best.safetensors"}
    assert not list((workplace / RESULTS / "models").rglob("*"))
    assert resumed_at(workplace, snakemake) == stopped
    assert sha256(workplace / WEIGHTS) == unbroken[0]
    assert f"step {stopped}/" not in log_of(workplace).read_text()


@pytest.mark.fault
def test_a_killed_job_goes_on_from_its_last_state(workplace, unbroken, snakemake, moment):
    operate(workplace, checkpoint_minutes=0.0005, workers=1)
    step = 20 + int(moment * (STEPS // 2 - 20))
    returncode, _, started = stop_after(workplace, step, kill_all)
    assert returncode != 0
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    assert 0 < resumed_at(workplace, snakemake) < STEPS, step
    assert sha256(workplace / WEIGHTS) == unbroken[0], step


@pytest.mark.fault
def test_two_processes_learn_the_same_and_survive_a_stop(workplace, unbroken, snakemake):
    operate(workplace, processes=2)
    returncode, output, started = stop_after(workplace, 20, psutil.Process.terminate)
    assert returncode != 0 and "Traceback" not in output, output[-3000:]
    match = re.search(r"stopped by signal 15 after step (\d+); start again to go on\n", output)
    assert match, output[-3000:]
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    assert resumed_at(workplace, snakemake) == int(match[1])
    np.testing.assert_allclose(losses_of(workplace), unbroken[1], rtol=1e-4)
    metrics = json.loads((workplace / WEIGHTS).with_name("metrics.json").read_text())
    assert metrics["processes"] == 2


@pytest.mark.fault
def test_a_stopped_job_goes_on_with_a_lower_learning_rate(workplace, snakemake):
    operate(workplace)
    returncode, output, _ = stop_after(workplace, 20, terminate_all)
    assert returncode != 0
    stopped = int(re.search(r"stopped by signal 15 after step (\d+); start again", output)[1])
    operate(workplace, learning_rate=1e-5)
    assert resumed_at(workplace, snakemake) == stopped
    metrics = json.loads((workplace / WEIGHTS).with_name("metrics.json").read_text())
    change = {"step": stopped, "key": "learning_rate", "before": 2e-4, "after": 1e-5}
    assert metrics["changed_on_the_way"] == [change]
