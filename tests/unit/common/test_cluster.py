"""SLURM and its partitions, looked for before the first job, and the jobs that are in its queue."""

import pytest

from workflow_scripts.common.cluster import check_slurm, jobs_of, refuse_orphans
from workflow_scripts.common.errors import InputError

RUN = "virtues_7f3c2e10-0f0e-4b8e-9d1b-2a6c5d4e3f21"
SHELL = "interactive"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A function that puts a stand-in for one of SLURM's programs where nothing else is found."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def add(name, text):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)

    return add


def test_a_cluster_with_the_partitions_is_accepted(programs):
    programs("sbatch", "")
    programs("sinfo", "echo cpu; echo gpu; echo gpu")
    check_slurm({"embed": "gpu", "split": "cpu,gpu"})
    check_slurm({})


def test_a_machine_without_slurm_is_refused(programs):
    with pytest.raises(InputError, match="this machine has no SLURM: `sbatch` is not in PATH"):
        check_slurm({})


def test_a_silent_controller_is_refused(programs):
    programs("sbatch", "")
    programs("sinfo", "echo 'slurm_load_partitions: Connection refused' >&2; exit 1")
    with pytest.raises(InputError, match="does not answer: slurm_load_partitions: Connection"):
        check_slurm({})


def test_an_unknown_partition_is_named_with_its_rule(programs):
    programs("sbatch", "")
    programs("sinfo", "echo gpu; echo cpu")
    with pytest.raises(InputError, match="rule embed asks for partition a100, .* has cpu, gpu;"):
        check_slurm({"split": "cpu", "embed": "gpu,a100"})


def test_a_hidden_partition_is_seen(programs):
    programs("sbatch", "")
    programs("sinfo", 'echo cpu; case " $* " in *" -a "*) echo gpu;; esac')
    check_slurm({"embed": "gpu"})


@pytest.fixture
def queue(programs, monkeypatch):
    """A function that lets squeue list jobs (number, state, name, folder)."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)

    def listed(*jobs):
        lines = ["\\t".join(map(str, job)) for job in jobs]
        programs("squeue", "\n".join(f"printf '{line}\\n'" for line in lines))

    return listed


def test_jobs_of_an_earlier_run_are_found_and_named(queue, tmp_path):
    folder = tmp_path / "a folder"
    queue(
        (12, "R", RUN, folder),
        (9, "PD", RUN.removeprefix("virtues_"), folder),
        (13, "CG", RUN, folder),  # has ended
        (14, "R", RUN, f"{folder}2"),
    )
    assert list(jobs_of(folder)) == ["9", "12"]
    with pytest.raises(InputError, match="in the queue: 9 12; wait .* `scancel 9 12`, then start"):
        refuse_orphans(jobs_of(folder))
    refuse_orphans({})


def test_the_job_in_which_snakemake_runs_is_not_asked_to_be_stopped(queue, tmp_path, monkeypatch):
    """`srun --pty`, `salloc` or `sbatch --wrap "snakemake ..."`, seen from inside."""
    queue((7, "R", SHELL, tmp_path))
    assert jobs_of(tmp_path) == {"7": SHELL}
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert jobs_of(tmp_path) == {}


@pytest.mark.parametrize("name", [SHELL, "bash", "wrap", "virtues_study", f"{RUN}.sh"])
def test_a_job_that_snakemake_did_not_submit_is_no_orphan(name):
    # Snakemake takes SLURM_JOB_ID out of its environment before a run starts.
    refuse_orphans({"7": name})
    with pytest.raises(InputError, match="in the queue: 8; wait .* `scancel 8`"):
        refuse_orphans({"7": name, "8": RUN})


def test_a_queue_that_does_not_answer_is_not_an_empty_one(programs, tmp_path):
    programs("squeue", "echo 'slurm_load_jobs error: Unable to contact controller' >&2; exit 1")
    sentence = "does not answer: slurm_load_jobs error: .*; try again when `squeue --me` lists jobs"
    with pytest.raises(InputError, match=sentence):
        jobs_of(tmp_path)


def test_without_a_cluster_there_are_no_jobs(programs, tmp_path):
    assert jobs_of(tmp_path) == {}
    programs(
        "squeue", "echo 'squeue: fatal: Could not establish a configuration source' >&2; false"
    )
    assert jobs_of(tmp_path) == {}
