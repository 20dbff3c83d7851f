"""What is known on the network against the locked packages; it changes from day to day."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "envs/requirements.lock"
PACKAGES = sum("==" in line for line in LOCK.read_text().splitlines() if line[0] != "#")

pytestmark = pytest.mark.network


def ask(*command):
    """Run a command that asks the network; one that does not answer is not to hold up the rest."""
    environment = os.environ | {"PIP_RETRIES": "1", "PIP_DEFAULT_TIMEOUT": "15"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_no_locked_package_has_a_known_vulnerability():
    done = ask("make", "-s", "audit", "OPTIONS=-f json")
    if not done.stdout.startswith("{"):
        pytest.skip(f"no audit: {done.stderr.strip()[-300:]}")
    listed = {each["name"]: each for each in json.loads(done.stdout)["dependencies"]}
    assert len(listed) == PACKAGES
    unknown = [name for name, each in listed.items() if "skip_reason" in each]
    if len(unknown) == PACKAGES:  # pip-audit itself calls this "no known vulnerabilities"
        pytest.skip("the database of vulnerabilities does not answer: it knows no package at all")
    assert not unknown, "not in the database of vulnerabilities"
    assert not {name: each["vulns"] for name, each in listed.items() if each["vulns"]}


def test_no_locked_release_was_withdrawn():
    options = ("--dry-run", "--no-deps", "--ignore-installed", "--quiet")
    done = ask(sys.executable, "-m", "pip", "install", *options, "-r", LOCK)
    if done.returncode != 0:
        pytest.skip(f"the package index does not answer: {done.stderr.strip()[-300:]}")
    assert "yanked" not in done.stderr, "choose another release, then `make conda`"
