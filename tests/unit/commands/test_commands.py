"""What a user asks beside the study, and what the answers say on a bad day."""

import hashlib
import json
import os
import subprocess
import sys
import time

import pytest
import yaml

from workflow_scripts.commands import check_env, clean_intermediate, verify_data
from workflow_scripts.common.mock import planned_jobs
from workflow_scripts.common.targets import load_targets, numbered


def retrieved(folder, content=b"images"):
    folder.mkdir(parents=True)
    (folder / "images.zip").write_bytes(content)
    file = {"name": "images.zip", "size": 6, "sha256": hashlib.sha256(b"images").hexdigest()}
    (folder / "retrieved.json").write_text(json.dumps({"files": [file]}))


def test_whole_files_and_weights_verify(tmp_path):
    retrieved(tmp_path / "archives/a")
    model = tmp_path / "models/all14"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    (model / "metrics.json").write_text(json.dumps({"weights_sha256": digest}))
    files = verify_data.recorded_files(tmp_path / "archives")
    files += verify_data.recorded_weights(tmp_path / "models")
    assert len(files) == 2 and verify_data.faults(files) == []
    (model / "model.safetensors").write_bytes(b"Weights")
    (sentence,) = verify_data.faults(files)
    assert "model.safetensors: its SHA-256 is" in sentence and f"expected {digest}" in sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"imagex", "its SHA-256 is"),
        (b"images and more", "15 bytes, expected 6 of its record"),
        (None, "its record lists this file, and it is not there"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, sentence):
    retrieved(tmp_path / "a", content or b"")
    if content is None:
        (tmp_path / "a/images.zip").unlink()
    (fault,) = verify_data.faults(verify_data.recorded_files(tmp_path))
    assert fault.startswith(f"{tmp_path}/a/images.zip: ") and sentence in fault


def test_intermediate_files_are_shown_first_and_removed_on_demand(tmp_path):
    tokens = tmp_path / "embeddings/all14/damond2019"
    tokens.mkdir(parents=True)
    (tokens / "0").write_bytes(b"0" * 3_000_000)
    numbers = tmp_path / "figures/fig2d/numbers.json"
    numbers.parent.mkdir(parents=True)
    numbers.write_text("{}")
    weights = tmp_path / "models/all14/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"1")
    shown = clean_intermediate.clean(tmp_path, yes=False)
    assert "3.0 MB  embeddings/*/* (1): tokens" in shown[0]
    assert "nothing was removed" in shown[-1] and tokens.exists()
    assert "3.0 MB removed" in clean_intermediate.clean(tmp_path, yes=True)[-1]
    assert not tokens.exists() and numbers.exists() and weights.exists()
    assert clean_intermediate.clean(tmp_path, yes=True) == [f"{tmp_path}: no intermediate files"]


def test_cleaning_never_touches_what_a_link_points_to(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "image").write_bytes(b"1")
    (tmp_path / "results/ingest/a").mkdir(parents=True)
    (tmp_path / "results/ingest/a/images").symlink_to(elsewhere)
    clean_intermediate.clean(tmp_path / "results", yes=True)
    assert (elsewhere / "image").exists()


def test_cleaning_knows_the_study_of_an_overlay(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"study": "mine"}))
    assert clean_intermediate.study_name([tmp_path / "mine.yaml"]) == "mine"
    assert clean_intermediate.study_name([]) == "virtues"
    with pytest.raises(SystemExit, match="absent.yaml: "):
        clean_intermediate.main(["--configfile", str(tmp_path / "absent.yaml")])


def test_the_lock_of_a_dead_run_is_told_from_that_of_a_living_one(tmp_path):
    assert check_env.lock(tmp_path) == ("lock: none of another run", None)
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").touch()
    line, problem = check_env.lock(tmp_path)
    assert "no Snakemake runs here" in line
    assert "squeue --me" in problem and problem.endswith("snakemake --unlock")
    script = tmp_path / "snakemake"
    script.write_text("import time; time.sleep(60)")
    running = subprocess.Popen([sys.executable, str(script), "all"], cwd=tmp_path)
    try:
        deadline = time.monotonic() + 20
        while check_env.lock(tmp_path)[1] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert check_env.lock(tmp_path) == (
            f"lock: a run is under way here (process {running.pid})",
            None,
        )
    finally:
        running.kill()
        running.wait()


def test_an_unwritable_folder_is_named(tmp_path, monkeypatch):
    # Root may write everywhere, and tests may run as root.
    monkeypatch.setattr(check_env.os, "access", lambda path, mode: False)
    _, problem = check_env.disk(tmp_path / "results", "results")
    assert problem.startswith(f"{tmp_path}: cannot be written to")


def test_a_gpu_that_is_asked_for_and_absent_is_a_problem():
    line, problem = check_env.device("cpu")
    assert problem is None and "torch" in line
    if "no GPU is seen" in line:
        assert "torch sees no GPU" in check_env.device("cuda")[1]


def test_the_attention_backend_and_its_reason_are_told(monkeypatch):
    monkeypatch.delenv("VIRTUES_ATTENTION", raising=False)
    line, problem = check_env.attention("auto", "cpu", 16)
    assert line.startswith("attention: auto is sdpa (") and "flash: it takes float16" in line
    assert problem is None
    assert "cannot run on" in check_env.attention("flash", "cpu", 16)[1]


def test_other_packages_than_the_locked_are_named(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("# a comment\nnumpy==0.0.1\nno-such-package==1.0; platform_system == 'Linux'\n")
    line, _ = check_env.packages(lock)
    assert "2 differ: numpy " in line and line.endswith("no-such-package absent, not 1.0")


def test_a_cluster_without_accounting_is_no_problem(tmp_path, monkeypatch):
    for name, said in (
        ("sbatch", "slurm-wlm 23.11"),
        ("scontrol", "MinJobAge = 300 sec\nAccountingStorageType = accounting_storage/none"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    line, problem = check_env.cluster()
    assert "no accounting, which the profile does not need; MinJobAge 300 sec" in line
    assert line.startswith("cluster: slurm-wlm 23.11;") and problem is None


@pytest.mark.parametrize("command", ["fig4", "supplementary"])
def test_a_figure_is_all_of_its_targets(command):
    heading = {"fig4": "Figure 4", "supplementary": "Supplementary"}[command]
    targets = load_targets()
    wanted = {t["id"] for t in targets if t["figure"].startswith(heading)} & set(numbered(targets))
    jobs = planned_jobs(target=command)
    made = {path.split("/")[-2] for job in jobs for path in job.output if "numbers.json" in path}
    assert wanted <= made and not {"report", "claims_table"} & {job.rule.name for job in jobs}


def test_the_commands_answer_without_any_results(checkout, snakemake):
    folder = checkout("commands")
    run = snakemake(folder, "--cores", "1", "verify_data", "--configfile", "demo/study.yaml")
    assert run.returncode == 0, run.stderr[-2000:]
    assert "Nothing was retrieved" in run.stderr
    run = snakemake(folder, "--cores", "1", "partial_report", "--configfile", "demo/study.yaml")
    assert run.returncode == 0, run.stderr[-2000:]
    page = (folder / "results/demo/partial_report/index.html").read_text(encoding="utf-8")
    assert page.count("Not computed yet.") == len(numbered(load_targets()))
