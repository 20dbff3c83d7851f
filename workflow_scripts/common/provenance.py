"""Where a number comes from: commit, versions and hardware."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from workflow_scripts.common.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("snakemake", "torch", "numpy", "scipy", "scikit-image", "zarr", "tifffile", "fair-esm")


def provenance():
    """Return commit, dirty flag, versions and hardware of this process as a plain dict."""
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": _gpu(),
    }


def sha256(path):
    """Return the SHA-256 of a file as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sum(path, expected, key):
    """Return the SHA-256 of a file; InputError unless it begins with `expected`, None for any.

    `key`: the setting that holds `expected`.
    """
    found = sha256(path)
    if expected and not found.startswith(expected):
        raise InputError(
            f"{path}: its SHA-256 is {found}, expected {expected} or one that begins so; download "
            f"it again, or correct {key}"
        )
    return found


def listing(folder):
    """Return a hash of names, sizes and times of all files in `folder`; None for no folder."""
    if folder is None:
        return None
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _git(*arguments):
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _gpu():
    """Return the names of the GPUs of this machine, or an empty text; torch is not needed."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(line.strip() for line in answer.stdout.splitlines())


def _processor():
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
