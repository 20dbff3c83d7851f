"""`--sdm conda`: Snakemake makes the environment of envs/virtues-study.yaml and runs scripts in it.

Where there is a conda, it is the real thing. Elsewhere a stand-in for that program makes a virtual
environment of this Python and installs into it what the file asks of pip, which is all but Python.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGET = "tableS1"
STAND_IN = Path(__file__).with_name("conda_stand_in.py")
ACTIVATE = 'export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n'
NOTES_ITS_PREFIX = """\
import os, sys
with open(os.environ["PYTHONS_SEEN"], "a") as file:
    print(sys.prefix, (sys.argv or ["-"])[0], file=file)
"""


@pytest.fixture
def conda(tmp_path, monkeypatch):
    """Put a conda on the PATH, real or not, and return which."""
    if found := shutil.which("conda"):
        return found
    programs = tmp_path / "conda/bin"
    programs.mkdir(parents=True)
    (programs / "conda").write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
    (programs / "conda").chmod(0o755)
    (programs / "activate").write_text(ACTIVATE)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return str(STAND_IN)


def test_with_conda_every_script_has_the_environment(conda, snakemake):
    run = snakemake(ROOT, "-n", "--nolock", "--sdm", "conda", "--cores", "1", TARGET)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "Conda environment envs/virtues-study.yaml will be created" in run.stdout + run.stderr
    without = snakemake(ROOT, "-n", "--nolock", "--cores", "1", TARGET)
    assert without.returncode == 0 and "virtues-study.yaml" not in without.stdout + without.stderr


@pytest.mark.nightly
def test_scripts_run_in_the_environment_of_the_file(
    conda, checkout, snakemake, tmp_path, monkeypatch
):
    print(f"conda: {conda}")
    folder = checkout("conda")
    command = (TARGET, "--cores", "2", "--sdm", "conda", "--configfile", "demo/study.yaml")
    made = snakemake(folder, *command, "--conda-create-envs-only", timeout=3600)
    assert made.returncode == 0, made.stderr[-4000:]
    (site_packages,) = (folder / ".snakemake/conda").glob("*/lib/python3*/site-packages")
    (site_packages / "sitecustomize.py").write_text(NOTES_ITS_PREFIX)
    monkeypatch.setenv("PYTHONS_SEEN", str(tmp_path / "seen"))
    run = snakemake(folder, *command)
    assert run.returncode == 0, run.stderr[-4000:]
    assert (folder / f"results/demo/figures/{TARGET}/numbers.json").exists()
    seen = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
    assert {Path(prefix) for prefix, *_ in seen} == {site_packages.parents[2]}
    scripts = {script for _, script in seen if script.endswith(".py")}
    # Snakemake enters the environment once more for each job, to ask for the version of Python.
    assert 40 < len(scripts) == run.stderr.count("Activating conda environment") / 2
    again = snakemake(folder, *command, "-n")
    assert "Nothing to be done" in again.stdout + again.stderr
