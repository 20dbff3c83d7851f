"""Runs the cases in a process of their own, as Triton decides at import how to run a kernel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CASES = sorted(Path(__file__).parent.glob("cases_*.py"))


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_cases(cases):
    pytest.importorskip("triton", reason="triton has no build for this machine")
    # The numbers of the published code are for a model on the CPU.
    compiled = torch.cuda.is_available() and cases.stem != "cases_model"
    environment = os.environ | {"TRITON_INTERPRET": "0" if compiled else "1"}
    environment.pop("VIRTUES_ATTENTION", None)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", str(cases)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
