"""SLURM and its partitions, looked for before the first job."""

import pytest

from workflow_scripts.common.cluster import check_slurm
from workflow_scripts.common.errors import InputError


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
