"""Full disks, read-only folders, wrong clocks, two runs at once and a network that goes away."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.faults import small
from tests.unit.cohorts.bad_server import Server

pytestmark = pytest.mark.fault
HOUR = 3600
nightly = pytest.mark.nightly


@pytest.fixture(scope="module")
def finished(checkout, tmp_path_factory):
    """A checkout in which the small study has run without a fault, its results, and a copy."""
    folder, copy = checkout("bad_days"), tmp_path_factory.mktemp("copy") / "results"
    small.write_study(folder)
    status, printed = small.run(folder)
    assert status == 0, printed[-3000:]
    shutil.copytree(folder / "results", copy, symlinks=True)
    return folder, small.results(folder), copy


@pytest.fixture
def study(finished):
    """The folder of the finished study, as it was before the last test, and its results."""
    folder, reference, copy = finished
    shutil.rmtree(folder / "results")
    shutil.copytree(copy, folder / "results", symlinks=True)
    return folder, reference


def fails_with(folder, *sentences, **more):
    """Run; check that it fails, says each sentence and shows no Python traceback."""
    status, printed = small.run(folder, **more)
    assert status != 0
    assert all(re.search(sentence, printed) for sentence in sentences), printed[-3000:]
    assert "Traceback" not in printed, printed[-3000:]


def ends_well(study, *options):
    folder, reference = study
    status, printed = small.run(folder, *options)
    assert status == 0, printed[-3000:]
    assert small.results(folder) == reference and not small.unfinished(folder)
    return printed


def unlock(folder):
    return subprocess.run(
        [sys.executable, "-m", "workflow_scripts.unlock", "--configfile", "study.yaml"],
        cwd=folder,
        env=small.environment(),
        capture_output=True,
        text=True,
    )


def test_a_disk_that_fills_up(study, tmp_path):
    """A small file system where there may be one, else a limit on the size of any file."""
    folder, _ = study
    small.lose(folder, "pretrain")
    whole, aside = folder / small.RESULTS, tmp_path / "aside"
    mounted = False
    limit = f"ulimit -f 40; exec {' '.join(map(str, small.command()))}"  # blocks of 1024 bytes
    if os.getuid() == 0:
        shutil.copytree(whole, aside, symlinks=True)
        size = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file())
        pages = sum(4096 for path in aside.rglob("*"))
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size + pages + 40_000}", "tmpfs", whole]
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    try:
        if mounted:
            shutil.copytree(aside, whole, symlinks=True, dirs_exist_ok=True)
            fails_with(folder, "no room is left on its disk; make room and start again")
            grow = ["mount", "-o", "remount,size=50m", whole]
            subprocess.run(grow, check=True)
        else:
            done = subprocess.run(
                ["bash", "-c", limit], cwd=folder, env=small.environment(), capture_output=True
            )
            assert b"may not grow further; raise the limit" in done.stderr
        ends_well(study)
    finally:
        if mounted:
            again = tmp_path / "again"
            shutil.copytree(whole, again, symlinks=True)
            subprocess.run(["umount", "-l", whole], check=True)
            shutil.rmtree(whole)
            shutil.move(again, whole)


def test_a_folder_that_cannot_be_written(study):
    folder, reference = study
    small.lose(folder, "loss_curves")
    # Root writes everywhere; without that right, also root's jobs heed the permissions.
    below = [folder / small.RESULTS, *(folder / small.RESULTS).rglob("*")]
    folders = [path for path in below if path.is_dir() and not path.is_symlink()]
    drop = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-all"]
    prefix = drop if os.getuid() == 0 else []
    try:
        for path in folders:
            path.chmod(0o555)
        done = subprocess.run(
            [*prefix, *small.command()],
            cwd=folder,
            env=small.environment(),
            capture_output=True,
            text=True,
        )
    finally:
        for path in folders:
            path.chmod(0o755)
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert re.search(r"figures: loss_curves cannot write here; have the file", done.stderr)
    now = small.results(folder)
    assert {path: now[path] for path in reference if "loss_curves" not in path} == now
    assert not list((folder / ".snakemake/locks").glob("*"))
    ends_well(study)


@nightly
def test_files_from_the_past(study):
    """The clock was wrong while they were written: work is done again, with the same results."""
    folder, _ = study
    shift(folder, -48)
    ends_well(study)
    assert "Nothing to be done" in ends_well(study)


@nightly
def test_files_from_the_future(study):
    """Snakemake would fail each job that reads them, after its work, and remove what it made."""
    folder, reference = study
    small.lose(folder, "embed")
    before = small.results(folder)
    shift(folder, 48)
    fails_with(folder, "cohorts/tiny/.*: written in 48 h by the clock of this machine; correct")
    assert small.results(folder) == before
    status, printed = small.run(folder, "--touch", "--forceall")
    assert status == 0, printed[-2000:]
    assert ends_well(study).count("Finished jobid") == 2  # embed and loss_curves, no training
    assert "Nothing to be done" in ends_well(study)


def shift(folder, hours):
    """Give what the cohort's rules made another time."""
    shifted = time.time() + hours * HOUR
    for path in (folder / small.RESULTS / "cohorts").rglob("*"):
        os.utime(path, (shifted, shifted), follow_symlinks=False)


@nightly
def test_two_runs_at_once(study):
    folder, reference = study
    assert "is not locked" in unlock(folder).stdout
    small.lose(folder, "pretrain")
    first = small.start(folder)
    while not small.scripts(folder):
        assert first.poll() is None
        time.sleep(0.05)
    second = subprocess.run(
        small.command(), cwd=folder, env=small.environment(), capture_output=True, text=True
    )
    assert second.returncode != 0 and "Directory cannot be locked" in second.stderr
    refused = unlock(folder)
    assert refused.returncode == 1
    assert f"in use by a run (process {first.pid}" in refused.stderr
    assert first.wait(300) == 0 and small.results(folder) == reference


@nightly
def test_a_killed_runs_lock_goes_when_its_jobs_have_ended(study):
    """Nothing of a killed run goes on writing, so unlocking is safe after a moment."""
    folder, reference = study
    small.lose(folder, "pretrain")
    run = small.start(folder)
    while not (found := small.scripts(folder)):
        assert run.poll() is None
        time.sleep(0.05)
    run.kill()
    run.wait()
    end = time.monotonic() + 60
    while small.processes(folder):
        assert time.monotonic() < end, "jobs of a killed run go on"
        time.sleep(0.1)
    assert found and not set(small.results(folder)) - set(reference)
    fails_with(folder, "Directory cannot be locked")
    done = unlock(folder)
    assert done.returncode == 0 and not list((folder / ".snakemake/locks").glob("*"))
    ends_well(study)


def test_the_network_goes_away_in_the_middle_of_a_retrieval(checkout):
    """The server breaks off; the run is stopped in its wait, and the next one fetches the rest."""
    folder = checkout("network")
    server = Server()
    small.write_study(folder, {"url": f"{server.url}/images.zip"})
    server.content = (folder / "own/images.zip").read_bytes()
    retrieved = f"{small.STUDY['archives']}/tiny/retrieved.json"
    server.behaviours = [server.cut, lambda request: request.connection.close()]
    archives = folder / small.STUDY["archives"] / "tiny"
    command = small.command(targets=[retrieved])
    options = {"cwd": folder, "env": small.environment(), "text": True}
    printed = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    small.heed_interrupts()
    run = subprocess.Popen(command, **options, **printed, start_new_session=True)
    part = archives / "images.zip.part"
    while len(server.requests) < 2:
        assert run.poll() is None, run.stdout.read()
        time.sleep(0.05)
    received = part.stat().st_size
    os.killpg(run.pid, signal.SIGINT)
    said, _ = run.communicate(timeout=900)
    assert run.returncode != 0 and "images.zip: " in said and "from byte" in said, said
    assert 0 < received == part.stat().st_size < len(server.content)
    assert not (archives / "images.zip").exists()

    server.behaviours = [server.send]
    again = subprocess.run(command, **options, capture_output=True)
    assert again.returncode == 0, again.stderr[-2000:]
    assert server.requests[-1][1]["Range"] == f"bytes={received}-"
    assert (archives / "images.zip").read_bytes() == server.content and not part.exists()


@nightly  # one of the random faults is always of this kind
@pytest.mark.parametrize(
    ("file", "share", "reader"),
    [
        ("ingest/tiny/tissue_masks/p2_1.npz", 0.7, "split"),
        ("cohorts/tiny/model_ready/p1_1.zarr/c/0/0/0", 0.5, "pretrain"),
        ("models/tiny/model.safetensors", 0.9, "embed"),
    ],
)
def test_a_file_that_was_cut_short_is_named(study, file, share, reader):
    folder, _ = study
    small.lose(folder, reader)
    path = folder / small.RESULTS / file
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    status, printed = small.run(folder)
    assert status != 0 and "Traceback" not in printed, printed[-3000:]
    small.delete_what_is_named(folder, file, printed)
    ends_well(study)
