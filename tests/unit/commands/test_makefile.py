"""What `make` hands on to Snakemake."""

import os
import subprocess

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(("asked", "cores"), [([], ""), (["CORES=8"], "--cores 8 ")])
def test_the_demo_takes_the_cores_that_are_asked_for(asked, cores):
    # What a `make test CORES=4` around this test hands on.
    around = ("CORES", "MAKE", "MFLAGS")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(around)}
    command = ["make", "--dry-run", "demo", *asked]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    [line] = [line for line in run.stdout.splitlines() if "--profile demo" in line]
    assert " ".join(line.split()).endswith(f"snakemake --profile demo {cores}all")
