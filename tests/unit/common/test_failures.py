"""What is said of a full disk and of damaged files, and jobs that end with their scheduler."""

import errno
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import zarr
from safetensors.numpy import save_file

from workflow_scripts.common import damage
from workflow_scripts.common.damage import damaged
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.failures import explain
from workflow_scripts.common.images import read_ome_zarr, write_mask, write_ome_zarr
from workflow_scripts.common.model_ready import write_model_ready


def test_a_full_gpu_is_said_with_the_settings_that_help():
    try:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        except torch.OutOfMemoryError as error:
            raise RuntimeError("in a step") from error
    except RuntimeError as error:
        sentence = explain(error, [], [])
    assert sentence.startswith("the memory of the GPU is used up; halve pretrain.micro_batch")
    assert "embed.batch" in sentence and explain(RuntimeError("other"), [], []) is None


def table(path):
    pd.DataFrame({"a": np.arange(1000)}).to_parquet(path)


def mask(path):
    write_mask(path, np.random.default_rng(0).integers(9, size=(50, 50)))


def weights(path):
    save_file({"w": np.ones((20, 20), np.float32)}, path)


def image(path):
    write_ome_zarr(path, np.random.default_rng(0).random((2, 40, 40), np.float32), ["a", "b"])


def model_ready(path):
    pixels = np.random.default_rng(0).random((2, 70, 70)).astype(np.float16)
    write_model_ready(path, pixels, ["a", "b"], ["P1", "P2"], 32)


def tokens(path):
    array = zarr.create_array(path, shape=(30, 4), chunks=(10, 4), dtype="float32")
    array[:] = np.random.default_rng(0).random((30, 4))


def card(path):
    path.write_text('{"accessions": ["P1"]}')


WRITERS = {
    "a.parquet": table,
    "a.npz": mask,
    "a.safetensors": weights,
    "a.ome.zarr": image,
    "a.zarr": model_ready,
    "niche.zarr": tokens,
    "a.json": card,
}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_was_cut_short_is_found(tmp_path, name, share):
    folder = tmp_path / "input"
    folder.mkdir()
    WRITERS[name](folder / name)
    (folder / "notes.txt").write_text("of another kind")
    assert damaged([folder, folder / name, tmp_path / "absent.json"]) is None
    files = [path for path in [folder / name, *(folder / name).rglob("*")] if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: int(share * largest.stat().st_size)])
    path, file, reason = damaged([folder])
    assert (path, file) == (folder, folder / name) and reason
    sentence = explain(ValueError("nonsense"), [str(folder)], [])
    assert sentence.startswith(f"{folder / name}: damaged or cut short (")
    assert sentence.endswith(f"; delete {folder} and start again.")


def test_the_log_says_what_failed_before_damage_is_looked_for(tmp_path, monkeypatch, caplog):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(damage, "damaged", killed)
    with pytest.raises(KeyboardInterrupt):
        try:
            Path(tmp_path / "absent").read_text()
        except OSError as error:
            failure = RuntimeError("in a step\nand more")
            failure.__cause__ = error
            explain(failure, [str(tmp_path)], [])
    assert "RuntimeError: in a step ()" in caplog.text and "and more" not in caplog.text
    assert re.search(r"; from FileNotFoundError: .*absent.*test_failures\.py:\d+", caplog.text)


def test_the_look_for_damage_ends_before_the_large_inputs_and_names_them(tmp_path, caplog):
    names = "large", "small"
    for name, rows in zip(names, (9000, 10), strict=True):
        (tmp_path / name).mkdir()
        pd.DataFrame({"a": np.arange(rows)}).to_parquet(tmp_path / name / "a.parquet")
    large, small = folders = [tmp_path / name for name in names]
    for folder in folders:
        file = folder / "a.parquet"
        file.write_bytes(file.read_bytes()[:-9])
    most = (small / "a.parquet").stat().st_size
    assert damaged(folders, most)[0] == small and not caplog.text
    table(small / "a.parquet")
    most = (small / "a.parquet").stat().st_size
    assert damaged(folders, most) is None
    assert f"to look at all of it for damage: {large}\n" in caplog.text
    assert damaged(folders, 1e9)[0] == damaged(folders)[0] == large


def test_zarr_reads_an_empty_file_as_zeros_and_we_do_not(tmp_path):
    image(tmp_path / "a.ome.zarr")
    (tmp_path / "a.ome.zarr/0/c/0/0/0").write_bytes(b"")
    assert not zarr.open_group(tmp_path / "a.ome.zarr", mode="r")["0"][:].any()
    with pytest.raises(InputError, match="0/0/0: the file is empty, .* delete .* and start again"):
        read_ome_zarr(tmp_path / "a.ome.zarr")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "no", "r/a.csv"), r"r/a.csv: no room is left on its disk; make"),
        (OSError(errno.EDQUOT, "no"), r"r/out.csv: your quota of its disk is used up"),
        (OSError(errno.EROFS, "no", "r/a"), r"r/a: its file system can only be read"),
        (PermissionError(errno.EACCES, "no", "r/a"), r"r/a: writing or reading it is not perm"),
        (RuntimeError("I/O error: full (os error 28)"), r"r/out.csv: no room is left"),
    ],
)
def test_a_disk_that_takes_no_more(error, sentence):
    try:
        raise RuntimeError("what a library makes of it") from error
    except RuntimeError as wrapped:
        assert explain(wrapped, [], ["r/out.csv"]).startswith(sentence)


def test_a_fault_of_the_code_is_not_explained_away(tmp_path):
    table(tmp_path / "a.parquet")
    assert explain(KeyError("x"), [str(tmp_path / "a.parquet")], []) is None


SCHEDULER = """
import subprocess, sys, time
job = "from workflow_scripts.common.failures import end_with_scheduler; end_with_scheduler(0.05)"
job += "; import time; time.sleep(60)"
print(subprocess.Popen([sys.executable, "-c", job]).pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("name", "ends"), [("snakemake", True), ("snakemake.py", False)])
def test_a_job_ends_with_its_scheduler_and_not_with_others(tmp_path, name, ends):
    path = tmp_path / name
    path.write_text(SCHEDULER)
    scheduler = subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True)
    job = psutil.Process(int(scheduler.stdout.readline()))
    try:
        time.sleep(1.5)  # the job has begun to watch
        assert job.is_running()
        scheduler.send_signal(signal.SIGKILL)
        scheduler.wait()
        _, alive = psutil.wait_procs([job], timeout=10 if ends else 1)
        assert bool(alive) != ends
    finally:
        for process in (job, scheduler):
            try:
                process.kill()
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
