"""Fixtures that every test may use."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items):
    """Begin with what takes minutes, so that at the end no worker is left alone with it."""
    folders = [item.path.relative_to(ROOT / "tests").parts[0] for item in items]
    order = sorted(range(len(items)), key=lambda n: folders[n] not in ("workflow", "faults"))
    items[:] = [items[n] for n in order]


@pytest.fixture(scope="session")
def shared():
    """Return a function that finds a file of the reference data beside the checkout."""

    def find(relative):
        path = SHARED / relative
        if not path.exists():
            pytest.skip(f"reference data is absent: expected {relative} in {SHARED}")
        return path

    return find


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """Return a function that copies the working tree into an empty folder, as a clone would be.

    Only what git tracks or would track is copied, so that a file missing from the repository is
    missed here too. The reference data, where there is any, lies beside the copy as well.
    """

    return lambda name: copy_working_tree(tmp_path_factory.mktemp(name) / "checkout")


def copy_working_tree(folder):
    """Copy what git tracks or would track into `folder`, which is returned."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for file in filter(None, listing.stdout.split("\0")):
        if (ROOT / file).exists():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, folder / file)
    if SHARED.exists():
        (folder.parent / "shared").symlink_to(SHARED)
    return folder


@pytest.fixture(scope="session")
def snakemake():
    """Return a function that runs snakemake in a folder and returns the finished process."""

    def run(folder, *arguments, timeout=1500):
        command = [sys.executable, "-m", "snakemake", *map(str, arguments)]
        # One thread per job, as the Makefile sets it: tests run two at a time.
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout
        )

    return run


@pytest.fixture(scope="session")
def run_tool():
    """Return a function that runs a program of the environment on the working tree."""

    def run(program, *arguments):
        command = [Path(sys.executable).parent / program, *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)

    return run
