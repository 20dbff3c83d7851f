"""Several files at once, each whole and checked before it has its name."""

import errno
import hashlib
import os
import shutil
import threading
import time
import zipfile
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from tqdm import tqdm

from workflow_scripts.common.cohort import local_path
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log
from workflow_scripts.common.transfer import PIECE, fetch

BETWEEN_LINES = 30  # s, of progress in the log
# How files begin; what is cut or is a page in its place is told although no checksum is known.
BEGINNINGS = {
    ".zip": b"PK",
    ".gz": b"\x1f\x8b",
    ".tgz": b"\x1f\x8b",
    ".7z": b"7z\xbc\xaf\x27\x1c",
    ".parquet": b"PAR1",
}


class Stopped(Exception):
    """A transfer was given up because another one failed; what it received is kept."""


def retrieve_files(files, folder, offline=False, connections=1, sleep=None):
    """Bring `files` into `folder`, `connections` at a time; returns them with what was found.

    Each is a dict of name (relative to `folder`), url, size, md5, sha256 and checked_against, the
    keys that are known. A file that is there, downloaded or placed by hand, is checked and kept.
    After a failure the other transfers stop at once and keep what they have. InputError if a file
    cannot be had, is not what it should be, or all together do not fit on the disk.
    """
    folder, stop = Path(folder), threading.Event()
    _refuse_if_full(files, folder)
    progress = Progress(files, folder)

    def pause(seconds):
        (sleep or stop.wait)(seconds)
        received(0)

    def received(count):
        if stop.is_set():
            raise Stopped
        progress.add(count)

    def one(file):
        if stop.is_set():
            raise Stopped
        try:
            return {**file, **_bring(file, folder / file["name"], offline, pause, received)}
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(connections) as pool:
        jobs = [pool.submit(one, file) for file in files]
        try:
            wait(jobs, return_when=FIRST_EXCEPTION)
        finally:  # an interrupt comes here as well
            stop.set()
            pool.shutdown(cancel_futures=True)
            progress.close()
    errors = [job.exception() for job in jobs if not job.cancelled() and job.exception()]
    told = [error for error in errors if not isinstance(error, Stopped)]
    if told:
        raise told[0]
    return [job.result() for job in jobs]


class Progress:
    """A bar on a terminal, and a line in the log now and then; may be fed by several threads."""

    def __init__(self, files, folder):
        sizes = [file.get("size") for file in files]
        self.total = None if None in sizes else sum(sizes)
        self.have = sum(_size_here(folder / file["name"]) for file in files)
        self.start, self.come, self.told = time.monotonic(), 0, time.monotonic()
        self.lock = threading.Lock()
        # Without a terminal tqdm stays silent.
        self.bar = tqdm(
            total=self.total, initial=self.have, unit="B", unit_scale=True, disable=None
        )

    def add(self, count):
        """Count bytes that came."""
        with self.lock:
            self.come += count
            self.bar.update(count)
            now = time.monotonic()
            if now - self.told >= BETWEEN_LINES:
                self.told = now
                log.info("%s", self.line(now))

    def line(self, now):
        """Return the state at a time in words: how much, how fast, how long it will take."""
        have, speed = self.have + self.come, self.come / max(now - self.start, 1e-9)
        if self.total is None:
            return f"{have / 1e9:.2f} GB, {speed / 1e6:.1f} MB/s"
        left = max(self.total - have, 0) / speed / 60 if speed else float("inf")
        return (
            f"{have / 1e9:.2f} of {self.total / 1e9:.2f} GB, {speed / 1e6:.1f} MB/s, "
            f"{left:.0f} min left"
        )

    def close(self):
        """End the bar."""
        self.bar.close()


def measure(path):
    """Return size, md5 and sha256 of a file, read once."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            md5.update(piece)
            sha256.update(piece)
        size = file.tell()
    return {"size": size, "md5": md5.hexdigest(), "sha256": sha256.hexdigest()}


def _bring(file, path, offline, sleep, received):
    """Check the file at `path`, or bring it there; returns size, md5 and sha256."""
    if path.exists() and local_path(file.get("url") or ""):
        path.unlink()  # copied from this machine, where it may have changed since
    if path.exists():
        found = measure(path)
        _check(path, found, file, path, "remove it to retrieve it again")
        log.info("%s: is there, %d bytes", path, found["size"])
        return found
    found = _download(file, path, offline, sleep, received)
    log.info("%s: retrieved, %d bytes", path, found["size"])
    return found


def _download(file, path, offline, sleep, received):
    """Fetch one file to `path`: it has its name only once its size and checksum are right."""
    url = file.get("url")
    if not url or (offline and not local_path(url)):
        why = "offline" if offline else "nothing says where to get it"
        raise InputError(
            f"{why}: {path} is not there; get {url or file['name']} elsewhere and put it there."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        fetch(url, part, file.get("size"), sleep, received)
    except InputError as error:
        # Mendeley Data may answer the one address with an error message, and the other with the
        # file.
        if "got JSON" not in str(error) or not url.endswith("/file_downloaded"):
            raise
        url = url.removesuffix("/file_downloaded") + "/file_viewed"
        fetch(url, part, file.get("size"), sleep, received)
    found = measure(part)
    bad = path.with_name(f"{path.name}.bad")
    try:
        _check(part, found, file, path, f"what came is kept as {bad.name}; retrieve it again")
    except InputError:
        os.replace(part, bad)
        raise
    bad.unlink(missing_ok=True)
    os.replace(part, path)
    return found


def _check(here, found, expected, path, advice):
    """Compare what lies `here`, under whatever name, with what the file `path` is to be."""
    checks = expected["checked_against"]
    for key, origin in checks.items():
        if found[key] != expected[key]:
            raise InputError(
                f"{path}: {key} is {found[key]}, expected {expected[key]} ({origin}); {advice}."
            )
    ending = path.suffix.lower()
    if {"md5", "sha256"} & set(checks) or ending not in BEGINNINGS:
        return
    with open(here, "rb") as file:
        start = file.read(40)
    if not start.startswith(BEGINNINGS[ending]):
        raise InputError(f"{path}: begins with {start!r}, expected a {ending} file; {advice}.")
    if ending == ".zip" and not zipfile.is_zipfile(here):
        raise InputError(f"{path}: has no end of a zip archive, so it was cut; {advice}.")


def _refuse_if_full(files, folder):
    """Refuse to start what cannot end: the bytes that are still to come must fit on the disk."""
    needed = sum(
        max(file["size"] - _size_here(folder / file["name"]), 0)
        for file in files
        if file.get("size") and not (folder / file["name"]).exists()
    )
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: {needed} bytes are to come and {free} are free ({os.strerror(errno.ENOSPC)}"
            "); make room, or let `archives` in the settings name a larger disk."
        )


def _size_here(path):
    part = path.with_name(f"{path.name}.part")
    return next((one.stat().st_size for one in (path, part) if one.exists()), 0)
