"""A real SLURM of one node on loopback: Debian's packages, started and stopped here by process."""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
SETTINGS = Path("/etc/slurm")  # the executor's job steps look nowhere else
PATIENCE = 30  # s for anything to start or to stop

# Jobs run as root and are not held to their memory, only to their time limit. The node is said
# to have 16 GB whatever it has, since the demo's jobs ask for more than they use.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000,batch_sched_delay=0
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MinJobAge=3600
KillWait=2
CompleteWait=0
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
"""
GRES_CONF = "Name=gpu File=/dev/null\n"  # a GPU that can be given out, with no device behind


def obstacle():
    """Return why SLURM cannot be started on this machine, or None."""
    if os.getuid() != 0:
        return "starting SLURM needs root"
    if not shutil.which("apt-get") and missing():
        return f"{', '.join(missing())} absent and no apt-get to install them"
    if running := [name for name in ("slurmctld", "slurmd") if is_running(name)]:
        return f"this machine runs SLURM already ({', '.join(running)})"
    return None


def missing():
    """Return the programs that are not installed."""
    return [program for program in PROGRAMS if not shutil.which(program)]


def is_running(name):
    """Tell whether any process of the machine has this name."""
    return any(read(path).strip() == name for path in Path("/proc").glob("[0-9]*/comm"))


def read(path):
    """Return the text of a file, empty when it has just gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def install():
    """Install Debian's packages, if they are not there."""
    if missing():
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
        for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
            subprocess.run([*apt, *command], env=environment, check=True, capture_output=True)


@contextmanager
def one_node_cluster(folder):
    """Run SLURM while the block lasts; its state and logs go to `folder`.

    /etc/slurm is as before afterwards. A second test run on the machine waits for the first.
    """
    folder = Path(folder)
    with ExitStack() as undo:
        lock = undo.enter_context(open(Path(tempfile.gettempdir()) / "virtues-slurm.lock", "w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        install()
        undo.enter_context(settings(folder))
        if not munge_answers():
            prepare_munge()
            undo.enter_context(daemon("munged", "--foreground", user="munge"))
            wait_until(munge_answers, "munge to answer")
        for name in ("spool", "state"):
            (folder / name).mkdir()
        undo.enter_context(daemon("slurmctld", "-D", "-c"))
        undo.enter_context(daemon("slurmd", "-D", "-c"))
        wait_until(lambda: "idle" in output("sinfo", "-h", "-o", "%T"), "the node to be idle")
        undo.callback(cancel_all)
        yield


@contextmanager
def settings(folder):
    """Configure SLURM for this machine; put back what was configured."""
    SETTINGS.mkdir(exist_ok=True)
    texts = {
        "slurm.conf": SLURM_CONF.format(
            host=socket.gethostname().split(".")[0], folder=folder, cpus=cpus()
        ),
        "gres.conf": GRES_CONF,
    }
    before = {name: read_bytes(SETTINGS / name) for name in texts}
    try:
        for name, text in texts.items():
            (SETTINGS / name).write_text(text)
        yield
    finally:
        for name, content in before.items():
            if content is None:
                (SETTINGS / name).unlink(missing_ok=True)
            else:
                (SETTINGS / name).write_bytes(content)


def read_bytes(path):
    """Return the content of a file, None when there is none."""
    return path.read_bytes() if path.exists() else None


def cpus():
    """Return the CPUs of this machine as SLURM describes them."""
    described = subprocess.run(["slurmd", "-C"], capture_output=True, text=True, check=True).stdout
    return " ".join(
        re.findall(r"(?:CPUs|Boards|\w+PerBoard|\w+PerSocket|\w+PerCore)=\d+", described)
    )


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
    """Run a program in the background; at the end ask it to stop, and wait."""
    # Its own session: an interrupt of the tests must not reach it before its jobs are cancelled.
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
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cancel_all():
    """Cancel what is in the queue, and wait until nothing of it runs."""
    output("scancel", "--user", "root")
    wait_until(lambda: not output("squeue", "-h"), "the queue to empty")


def output(*command):
    """Return what a command prints, empty when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout if done.returncode == 0 else ""


def wait_until(condition, what):
    """Wait for a condition, not for ever."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE} s for {what}")
        time.sleep(0.1)


def recorded_jobs():
    """Return what SLURM knows about each job: a list of {field: text}, in order of submission."""
    lines = output("scontrol", "show", "job", "--oneliner").splitlines()
    jobs = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines if line.startswith("JobId=")]
    return sorted(jobs, key=lambda job: int(job["JobId"]))
