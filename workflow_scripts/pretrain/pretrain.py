"""Train one VirTues instance (Methods, "Pretraining"): here, or in processes of torchrun."""

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

from workflow_scripts.common.device import check_device
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.training.loop import STOP_SIGNALS
from workflow_scripts.common.training.processes import check_divides
from workflow_scripts.pretrain.instance import train_instance

SETTINGS = "settings (config.yaml and its overlays)"


def plain_job(snakemake):
    """Return all that a process needs to know of the job, ready for JSON."""
    params = snakemake.params
    return {
        "instance": snakemake.wildcards.instance,
        "embeddings": snakemake.input.embeddings,
        "output": {name: snakemake.output[name] for name in ("weights", "config", "metrics")},
        "log": snakemake.log[0],
        "threads": snakemake.threads,
        "device": params.device,
        "deterministic": snakemake.config["deterministic"],
        "model": params.model,
        # What says how the run is operated comes from the configuration: see rules/pretrain.smk.
        "settings": snakemake.config["pretrain"] | params.settings,
        "panel": params.panel,
        "tracked": {
            "settings": params.settings,
            "model": params.model,
            "panel": params.panel,
            "code": params.code,
        },
        "cohort_folders": params.cohort_folders,
        "checkpoint_folder": params.checkpoint_folder,
        "tensorboard_folder": params.tensorboard_folder,
    }


def torchrun(job_file, processes, nodes, cores, environment):
    """Return the command that trains in `processes` on each of `nodes`, with `cores` a node."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command += ["--signals-to-handle=SIGTERM,SIGINT,SIGUSR1", "--monitor-interval=1"]
    if nodes == 1:
        command += ["--standalone"]
    else:
        number = environment.get("SLURM_JOB_ID")
        if number is None:
            raise InputError(
                f"{SETTINGS}: pretrain.nodes: {nodes} nodes come from SLURM, but this job runs in "
                "none of its allocations; use the profile slurm, or set nodes: 1"
            )
        each_node = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
        each_node += [f"--cpus-per-task={cores}"]
        meeting = f"{platform.node()}:{29500 + int(number) % 1000}"
        command = [*each_node, *command, f"--nnodes={nodes}", f"--rdzv-id={number}"]
        command += ["--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}"]
    return [*command, "-m", "workflow_scripts.pretrain.train_process", str(job_file)]


def launch(job):
    """Train in the processes of torchrun; hand on the signals that ask to stop."""
    settings, folder = job["settings"], Path(job["checkpoint_folder"])
    folder.mkdir(parents=True, exist_ok=True)
    job_file, printed = folder / "job.json", folder / "torchrun.log"
    job_file.write_text(json.dumps(job))
    # Time to save a state before the processes are killed; a cluster may grant less.
    environment = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "300", "OMP_NUM_THREADS": "1"} | os.environ
    processes, nodes = settings["processes"], settings["nodes"]
    command = torchrun(job_file, processes, nodes, job["threads"], environment)
    log.info("%s", " ".join(command))
    with open(printed, "w") as output:
        # A session of its own, as Ctrl-C on a terminal would reach torchrun twice.
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        # srun takes SIGTERM as an order to kill its tasks, and hands on SIGUSR1.
        asked = signal.SIGTERM if nodes == 1 else signal.SIGUSR1
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: process.send_signal(asked))
        process.wait()
    if process.returncode == 0:
        return
    # The processes tell in the log of the rule what went wrong, if they still could.
    lines = Path(job["log"]).read_text().splitlines()
    told = [line for line in lines if " ERROR " in line]
    if told:
        print(*told, sep="\n", file=sys.stderr)
    else:
        log.error("torchrun ended with %d: %s", process.returncode, printed.read_text()[-3000:])
    sys.exit(1)


def start(job, train):
    """Check what can be checked at once, then `train(job)` here or in processes of torchrun."""
    processes, nodes = job["settings"]["processes"], job["settings"]["nodes"]
    check_device(job["device"], processes)
    check_divides(job["settings"]["batch"], processes * nodes)
    if processes * nodes == 1:
        train(job)
    else:
        launch(job)


def main(snakemake):
    """Train an instance."""
    start(plain_job(snakemake), train_instance)


if __name__ == "__main__":
    run(main, globals())
