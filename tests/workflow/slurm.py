"""A real SLURM of one node on loopback: Debian's packages, started and stopped by process."""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
SETTINGS = Path("/etc/slurm")  # job steps of the executor look nowhere else
LOCK = Path("/run/slurm-of-tests.lock")
PATIENCE = 30  # s for anything to start or to stop

# The node is said to have what the demo's jobs ask for, whatever the machine has: SLURM without
# control groups holds a job to its time limit, not to its cores and memory.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000,batch_sched_delay=0
ReturnToService=2
MinJobAge=172800
KillWait=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
GRES_CONF = "Name=gpu File=/dev/null\n"  # a GPU to be given out, with no device behind it


class Unavailable(Exception):
    """SLURM cannot be started on this machine, for the reason given."""


@contextmanager
def one_node_cluster(folder):
    """Run SLURM while the block lasts, with its state and logs in `folder`.

    Packages are installed where they are missing, and stay; /etc/slurm is afterwards as before.
    Another test run on the same machine waits ten minutes. Yields the Node. Raises Unavailable
    after them, without root or apt-get, and on a machine that belongs to a cluster.
    """
    if os.getuid() != 0:
        raise Unavailable("starting SLURM needs root")
    with ExitStack() as undo:
        lock = undo.enter_context(open(LOCK, "w"))
        try:
            wait_until(lambda: locked(lock), "another run's SLURM to stop", 600)
        except TimeoutError:
            raise Unavailable("`make cluster` is running on this machine") from None
        install()
        if is_running("slurmctld") or is_running("slurmd") or "UP" in output("scontrol", "ping"):
            raise Unavailable("this machine runs SLURM already")
        undo.enter_context(settings(folder))
        if not munge_answers():
            prepare_munge()
            undo.enter_context(daemon("munged", "--foreground", user="munge"))
            wait_until(munge_answers, "munge to answer")
        for name in ("spool", "state"):
            (folder / name).mkdir()
        undo.enter_context(daemon("slurmctld", "-D", "-c"))
        undo.enter_context(daemon("slurmd", "-D", "-c"))
        node = Node(undo.enter_context(ExitStack()))
        wait_until(lambda: node.state() == "idle", f"the node; see {folder}")
        undo.callback(cancel_all)
        yield node


class Node:
    """The one node, whose daemon can be killed and started again."""

    def __init__(self, undo):
        self.undo = undo

    def state(self):
        """Return what the controller holds the node for: idle, mixed, down* ..."""
        return output("sinfo", "-h", "-o", "%T").strip()

    def kill(self, jobs=True):
        """Kill the node's daemon, with `jobs` also all that runs in its jobs, and no more asked."""
        names = ("slurmd", "slurmstepd") if jobs else ("slurmd",)
        found = [p for p in psutil.process_iter(["name"]) if p.info["name"] in names]
        steps = [child for p in found if p.info["name"] == "slurmstepd" for child in offspring(p)]
        for process in [*found, *steps]:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, PATIENCE)

    def start(self):
        """Start the daemon again; it takes up the jobs that still run."""
        self.undo.enter_context(daemon("slurmd", "-D"))
        wait_until(lambda: self.state() in ("idle", "mixed", "allocated"), "the node to return")


def offspring(process):
    """Return all processes below one, none if it has just ended."""
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def locked(file):
    """Try to lock a file for this process; tell whether it worked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def install():
    """Install Debian's packages where a program is missing."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing and not shutil.which("apt-get"):
        raise Unavailable(f"{', '.join(missing)} missing and no apt-get to install from")
    if missing:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
        for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
            done = subprocess.run([*apt, *command], env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                raise Unavailable(f"apt-get {command[0]} failed: {done.stderr.strip()[-300:]}")


@contextmanager
def settings(folder):
    """Configure SLURM for this machine; at the end put back what was configured."""
    host = socket.gethostname().split(".")[0]
    texts = {
        SETTINGS / "slurm.conf": SLURM_CONF.format(host=host, folder=folder),
        SETTINGS / "gres.conf": GRES_CONF,
    }
    before = {path: path.read_bytes() if path.exists() else None for path in texts}
    try:
        for path, text in texts.items():
            path.write_text(text)
        yield
    finally:
        for path, content in before.items():
            path.unlink() if content is None else path.write_bytes(content)


def prepare_munge():
    """Make the folders that a service manager would make."""
    for path, mode in (("/run/munge", 0o755), ("/var/log/munge", 0o700), ("/var/lib/munge", 0o700)):
        Path(path).mkdir(exist_ok=True)
        shutil.chown(path, "munge", "munge")
        os.chmod(path, mode)


def munge_answers():
    """Tell whether a munge daemon signs and accepts."""
    return output("sh", "-c", "munge -n | unmunge") != ""


@contextmanager
def daemon(*command, user=None):
    """Run a program in the background; at the end ask it to stop, and wait until it has."""
    # Its own session: Ctrl-C in the tests must not reach it before its jobs are cancelled.
    process = subprocess.Popen(
        command,
        user=user,
        group=user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_running(name):
    """Tell whether any process of the machine was started under this name."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            if Path(path.read_text().split("\0")[0]).name == name:
                return True
    return False


def cancel_all():
    """Cancel what is in the queue, and wait until nothing of it runs."""
    output("scancel", "--user", "root")
    wait_until(lambda: not output("squeue", "-h"), "the queue to empty")


def output(*command):
    """Return what a command prints, empty when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout if done.returncode == 0 else ""


def wait_until(condition, what, seconds=PATIENCE):
    """Wait for a condition; raise TimeoutError when it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.1)


def goes_to_the_cluster(job):
    """Tell whether a planned job is submitted; to a plan without a cluster all jobs are local."""
    return not job.rule.norun and job.rule.name not in job.rule.workflow._localrules


def recorded_jobs(folder):
    """Return what SLURM recorded of the jobs run in a folder, in order of submission.

    A list of {field: text} as `scontrol show job` names them.
    """
    lines = output("scontrol", "show", "job", "--oneliner").splitlines()
    jobs = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]
    mine = [job for job in jobs if job.get("WorkDir") == str(folder)]
    return sorted(mine, key=lambda job: int(job["JobId"]))
