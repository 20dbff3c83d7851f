"""The graph of the full study, without running it."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.own_study import write_study
from workflow_scripts.common.mock import planned_jobs
from workflow_scripts.common.targets import load_targets, numbered

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {target["id"] for target in load_targets()}  # some share a script
# Jobs of a second or less on the submitting side need no log of their own.
COLLECTORS = {"all", "embeddings", "retrieve_all", "export"}


def test_a_dry_run_of_the_full_study_succeeds_without_any_data(snakemake, checkout):
    run = snakemake(checkout("dry"), "-n", "all")
    assert run.returncode == 0, run.stderr[-3000:]
    assert "pretrain" in run.stdout + run.stderr


def test_results_may_be_a_link_to_another_disk(snakemake, checkout, tmp_path):
    folder = checkout("linked")
    (folder / "results").symlink_to(tmp_path)
    run = snakemake(folder, "--profile", "demo", "-n", "all")
    assert run.returncode == 0, run.stderr[-3000:]
    for arguments in (["init", "--quiet"], ["check-ignore", "--quiet", "results"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)  # no file to commit


def test_no_file_of_rules_takes_a_name_from_another():
    # All of them share one namespace, and a function that a rule is given reads it later.
    owners = {}
    for path in [*ROOT.glob("rules/*.smk"), ROOT / "Snakefile"]:
        for name in re.findall(r"^ *([A-Z][A-Z0-9_]+) = ", path.read_text(), re.M):
            assert owners.setdefault(name, path) == path, f"{name}: {owners[name]} and {path}"
    assert len(owners) > 50


def test_every_job_has_log_benchmark_message_and_script():
    for job in planned_jobs():
        if job.rule.name not in COLLECTORS:
            assert job.log and job.benchmark and job.rule.message, job.rule.name
            assert Path(job.rule.script).stem == job.rule.name or job.rule.name in TARGETS
            assert job.resources["mem_mb"] and job.resources["runtime"], job.rule.name


def asked_memory(jobs):
    """Return the memory of each job that reads tables of cells, by rule and cohort."""
    rules = ("ingest", "split", "own_ingest", "own_split")
    named = [job for job in jobs if job.rule.name in rules]
    return {(job.rule.name, job.wildcards.cohort): job.resources["mem_mb"] for job in named}


def test_cohorts_of_many_cells_ask_for_more_memory(tmp_path):
    asked = asked_memory(planned_jobs())
    assert asked["split", "cords2024"] == 2000 + 5984  # MB for six million cells
    assert asked["ingest", "cords2024"] == 8000 + 5984
    assert asked["split", "cords2023"] == 2000  # its file names no number of cells
    demo = asked_memory(planned_jobs(["demo/study.yaml"]))
    assert set(demo.values()) == {2000}  # with one thread
    study, mine = write_study(tmp_path), tmp_path / "mine.yaml"
    mine.write_text(mine.read_text() + "published: {cells: 10000000, provenance: counted}\n")
    own = asked_memory(planned_jobs([study], {"cohort": str(mine)}, "own_cohort"))
    assert own["own_split", "mine"] == own["own_ingest", "mine"] == 12000
    assert own["split", "lung"] == 2000


def test_scripts_are_short_and_modules_not_long():
    named = {job.rule.script for job in planned_jobs() if job.rule.script}
    scripts = {(ROOT / "rules" / name).resolve() for name in named}
    assert len(scripts) > 50
    for package in ("workflow_scripts", "virtues_core"):
        for path in (ROOT / package).rglob("*.py"):
            shared = path not in scripts and {"common", "readers", "virtues_core"} & set(path.parts)
            assert len(path.read_text().splitlines()) <= (400 if shared else 200), path


def test_the_drawn_graph_of_rules_is_that_of_the_rules(run_tool):
    # Written by `make rulegraph`; the report colours in it what ran.
    run = run_tool("snakemake", "all", "--rulegraph", "--configfile", "demo/study.yaml", "--nolock")
    assert run.returncode == 0, run.stderr[-3000:]
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', run.stdout))
    edges = re.findall(r"(\d+) -> (\d+)", run.stdout)
    svg = (ROOT / "docs/rulegraph.svg").read_text(encoding="utf-8")
    drawn = dict(re.findall(r'class="node">\s*<title>(\d+)</title>.*?>(\w+)</text>', svg, re.S))
    lines = re.findall(r"<title>(\d+)&#45;&gt;(\d+)</title>", svg)
    assert set(drawn.values()) == set(names.values()) and len(names) > 50
    assert {(drawn[a], drawn[b]) for a, b in lines} == {(names[a], names[b]) for a, b in edges}


def test_only_retrieval_touches_the_network():
    for path in (ROOT / "workflow_scripts").rglob("*.py"):
        if re.search(r"^\s*import requests|urllib\.request|^import socket", path.read_text(), re.M):
            assert path.name.startswith("retrieve") or path.name in ("records.py", "transfer.py")


def needed_rules(target, jobs, made):
    """Return the names of the rules whose jobs a target needs, its own among them."""
    needed, ahead = set(), [job for job in jobs if job.rule.name == target]
    while ahead:
        job = ahead.pop()
        if job not in needed:
            needed.add(job)
            ahead += [made[path] for path in map(str, job.input) if path in made]
    return {job.rule.name for job in needed}


@pytest.mark.parametrize("overlay", [[], ["demo/study.yaml"]], ids=["full", "demo"])
def test_every_target_answers_to_its_name(overlay):
    targets = numbered(load_targets())
    jobs = planned_jobs(overlay, target=targets)
    made = {str(path): job for job in jobs for path in job.output}
    for target in targets:
        needed = needed_rules(target, jobs, made)
        assert target in needed and "report" not in needed
        if overlay:  # the full study lacks cohorts that are on request
            assert "record_not_run" not in needed, target


def test_signatures_are_carried_by_shared_markers_alone_where_that_is_asked_for():
    overrides = {"meyer_transfer": {"markers": "shared"}}
    jobs = planned_jobs(["demo/study.yaml"], overrides=overrides, target=["fig5j"])
    by_rule = {job.rule.name: job for job in jobs}
    (tokens,) = by_rule["embed_signatures"].output
    assert tokens in by_rule["transfer_signatures"].input
    assert by_rule["transfer_signatures"].params.target.startswith(f"{tokens}/")


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["snakefmt", "--check", "Snakefile", "rules"],
        ["snakemake", "--lint"],
    ],
    ids=" ".join,
)
def test_the_linters_are_content(command, run_tool):
    done = run_tool(*command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
