"""Two processes against one: the same losses and weights, and one sentence when a pixel is bad."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from safetensors.torch import load_file

from virtues_core import VirTues
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.training.processes import Processes, check_divides
from workflow_scripts.pretrain import instance, pretrain, train_process

ROOT = Path(__file__).resolve().parents[3]


def run_processes(job, processes):
    """Train as rule pretrain would, in processes of torchrun; returns the finished torchrun."""
    job_file = Path(job.log[0]).with_name("job.json")
    job_file.write_text(json.dumps(pretrain.plain_job(job)))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = pretrain.torchrun(job_file, processes, 1, 1, environment)
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def in_double(monkeypatch):
    """Let this process, and those that it starts, compute trainings in float64."""
    monkeypatch.setattr(instance, "VirTues", lambda *given: VirTues(*given).double())
    torchrun = pretrain.torchrun
    monkeypatch.setattr(
        pretrain,
        "torchrun",
        lambda *given: [*torchrun(*given)[:-2], "tests.unit.pretrain.in_double", str(given[0])],
    )


def both(make_job, **settings):
    """Train alone and on two processes; returns metrics and weights of each."""
    alone, shared = make_job("alone", **settings), make_job("shared", processes=2, **settings)
    threads = torch.get_num_threads()
    pretrain.main(alone)
    torch.set_num_threads(threads)
    done = run_processes(shared, 2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not Path(shared.params.checkpoint_folder).exists()
    return [
        (json.loads(Path(job.output["metrics"]).read_text()), load_file(job.output["weights"]))
        for job in (alone, shared)
    ]


def test_two_processes_follow_the_losses_of_one(make_job, tmp_path):
    (one, _), (two, _) = both(make_job)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert len(one["losses"]) == 6 and len(set(one["losses"])) == 6
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-5)
    log = (tmp_path / "shared/rule.log").read_text()
    assert log.count("training on cpu in fp32 from step 0 to 6") == 1
    assert re.search(r"step 6/6, loss \d\.\d+, lr \S+, \S+ crops/s, \S+ tokens/s, \S+ GB, 0 s", log)


def test_two_processes_learn_what_one_learns(make_job, in_double):
    """In float64, since AdamW scales a gradient that is rounding alone up to a full step."""
    (one, weights), (two, others) = both(make_job)
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-6)  # told in float32
    assert weights["encoder.masked_token"].dtype == torch.float64
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=1e-10, atol=1e-11, msg=name)


def test_a_bad_pixel_on_one_of_two_processes_is_told_once(make_job, cohorts):
    store = Path(cohorts[1]) / "model_ready/small tissue.zarr"
    image = zarr.open_array(store, mode="r+")
    image[1, 16:48, 16:48] = np.nan
    job = make_job("bad", processes=2)
    done = run_processes(job, 2)
    assert done.returncode != 0
    sentence = (
        r"small tissue\.zarr: crop \d+ \(cohort small, tissue small tissue\) has pixels of marker "
        r"marker 1 that are NaN or infinite, expected finite numbers; delete .*model_ready and run "
        r"preprocess again\n"
    )
    log = Path(job.log[0]).read_text()
    assert len(re.findall(sentence, log)) == 1 and log.count("ERROR") == 1, log
    assert not Path(job.output["weights"]).exists()


@pytest.fixture
def in_process(make_job, monkeypatch, tmp_path):
    """Return a function that does in this process what one of torchrun's does."""
    monkeypatch.setattr(train_process.Processes, "join", lambda device: Processes())
    monkeypatch.setattr(Processes, "leave", lambda self: None)
    monkeypatch.setattr(train_process, "end_with_scheduler", lambda: None)
    monkeypatch.setattr(train_process.logging, "basicConfig", lambda **options: None)

    def run(deterministic=False):
        job = make_job("job")
        job.config["deterministic"] = deterministic
        path = tmp_path / "job.json"
        path.write_text(json.dumps(pretrain.plain_job(job)))
        try:
            train_process.main(path)
        finally:
            torch.use_deterministic_algorithms(False)

    return run


@pytest.mark.parametrize("deterministic", [False, True])
def test_processes_of_torchrun_are_deterministic_if_the_study_is(
    in_process, monkeypatch, deterministic
):
    seen, enabled = [], torch.are_deterministic_algorithms_enabled
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(train_process, "train_instance", lambda *given: seen.append(enabled()))
    in_process(deterministic)
    assert seen == [deterministic]
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if deterministic else None)


def test_a_gpu_that_is_full_is_told_in_one_sentence(in_process, monkeypatch, caplog):
    def full(*given):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(train_process, "train_instance", full)
    with pytest.raises(SystemExit):
        in_process()
    assert "the memory of the GPU is used up; halve pretrain.micro_batch" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_batch_that_processes_cannot_share_is_refused(make_job):
    sentence = (
        r"pretrain\.batch: an effective batch of 6 crops cannot be divided evenly over 4 "
        r"processes; choose pretrain\.processes x pretrain\.nodes so that it divides the batch"
    )
    with pytest.raises(InputError, match=sentence):
        pretrain.main(make_job("refused", processes=2, nodes=2))
    check_divides(512, 8)


def test_several_nodes_are_one_torchrun_each_in_an_allocation_of_slurm():
    command = pretrain.torchrun("job.json", 4, 2, 32, {"SLURM_JOB_ID": "1234567"})
    start = command.index(sys.executable)
    step = "srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=32"
    assert command[:start] == step.split()
    assert {"--nproc-per-node=4", "--nnodes=2", "--rdzv-id=1234567"} <= set(command[start:])
    assert command[-1] == "job.json" and any(c.endswith(":30067") for c in command)
    with pytest.raises(InputError, match="pretrain.nodes: 2 nodes come from SLURM.*nodes: 1"):
        pretrain.torchrun("job.json", 4, 2, 32, {})


@pytest.mark.parametrize(("nodes", "handed_on"), [(1, "SIGTERM"), (2, "SIGUSR1")])
def test_several_nodes_are_not_asked_to_stop_by_what_srun_kills_at(
    make_job, monkeypatch, nodes, handed_on
):
    """srun answers SIGTERM by killing its tasks (its source: srun_job.c), unsaved."""
    told = "import os, signal, sys, time\n"
    told += "for n in (signal.SIGTERM, signal.SIGUSR1):\n"
    told += "    signal.signal(n, lambda n, _: sys.exit(f'told {signal.Signals(n).name}'))\n"
    told += "os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)\n"
    monkeypatch.setattr(pretrain, "torchrun", lambda *_: [sys.executable, "-c", told])
    job = pretrain.plain_job(make_job(f"nodes{nodes}", processes=2, nodes=nodes, batch=8))
    handlers = {number: signal.getsignal(number) for number in pretrain.STOP_SIGNALS}
    try:
        with pytest.raises(SystemExit):
            pretrain.launch(job)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    printed = Path(job["checkpoint_folder"], "torchrun.log").read_text()
    assert printed == f"told {handed_on}\n"


def test_a_torchrun_that_dies_without_a_word_is_shown_with_its_output(
    make_job, monkeypatch, caplog
):
    dying = [sys.executable, "-c", "print('no such interface'); raise SystemExit(3)"]
    monkeypatch.setattr(pretrain, "torchrun", lambda *arguments: dying)
    handlers = {number: signal.getsignal(number) for number in pretrain.STOP_SIGNALS}
    try:
        with pytest.raises(SystemExit) as ended:
            pretrain.main(make_job("dying", processes=2))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert ended.value.code == 1
    assert "torchrun ended with 3: no such interface" in caplog.text


def test_one_process_needs_no_others():
    alone, numbers = Processes(), torch.arange(3.0)
    assert alone.sum(numbers) is numbers and alone.largest(3, 0) == (3, 0)
    assert alone.together(lambda: 7) == 7 and alone.gather("x") == ["x"]
    with pytest.raises(InputError, match="^why$"):
        alone.fail("why")


def test_a_missing_tensorboard_is_said_in_one_sentence(make_job, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="tensorboard: true needs the package.*or set false"):
        pretrain.main(make_job("watched", tensorboard=True))
