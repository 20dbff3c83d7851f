"""Every way to install the study gives the versions of the lock file."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

from virtues_core.attention import missing

ROOT = Path(__file__).resolve().parents[3]
ENVS = ROOT / "envs"
LOCK = [line for line in (ENVS / "requirements.lock").read_text().splitlines() if line[0] != "#"]
CONDA = yaml.safe_load((ENVS / "virtues-study.yaml").read_text())
CONTAINER = (ENVS / "container.def").read_text()


def test_the_lock_file_pins_every_package():
    for line in LOCK:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[\w.]+( *; *.+)?", line), line
    names = [re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in LOCK]
    assert len(names) == len(set(names))


def test_the_conda_file_is_the_lock_file():
    python, pip, packages = CONDA["dependencies"]
    assert pip == "pip" and python == "python=3.11"
    assert packages == {"pip": LOCK}, "run `make conda`"


def test_make_conda_writes_what_is_there(tmp_path):
    for name in ("envs", "Makefile"):
        subprocess.run(["cp", "-r", ROOT / name, tmp_path], check=True)
    subprocess.run(["make", "conda"], cwd=tmp_path, check=True, capture_output=True)
    there = (ENVS / "virtues-study.yaml").read_bytes()
    assert (tmp_path / "envs/virtues-study.yaml").read_bytes() == there


def test_the_container_installs_the_lock_file_with_the_same_python():
    assert "envs/requirements.lock /opt/requirements.lock" in CONTAINER
    assert "pip install --no-cache-dir -r /opt/requirements.lock" in CONTAINER
    python = re.search(r"From: python:(\d+\.\d+)", CONTAINER)[1]
    assert CONDA["dependencies"][0] == f"python={python}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={python}"
    image = re.search(r"apptainer build (\S+)", CONTAINER)[1]
    assert f'container: "{image}"' in (ROOT / "Snakefile").read_text()


def test_gpu_extras_are_what_the_code_asks_for():
    extras = (ENVS / "gpu.txt").read_text()
    assert re.search(r"^-r requirements.lock$", extras, re.M)
    oldest = ".".join(map(str, missing.FLASH_ATTN))
    assert re.search(rf"^flash-attn>={re.escape(oldest)}\b", extras, re.M)
    triton = next(line for line in LOCK if line.startswith("triton=="))
    assert tuple(map(int, re.findall(r"\d+", triton)[:2])) >= missing.TRITON
