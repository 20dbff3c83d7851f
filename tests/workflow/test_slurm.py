"""The cluster profile on a real SLURM: what jobs ask for, what is recorded, what goes wrong."""

import re
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

from tests.own_study import MINE, write_cohort
from tests.workflow import slurm
from workflow_scripts.common.cluster import jobs_of, refuse_orphans
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.mock import planned_jobs

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "results/demo/models/all14/model.safetensors"
COHORTS = ("sim_cords2024", "sim_danenberg2022")
LOCAL = {"all", "retrieve", "retrieve_sequences"}  # what stays on the submitting side
# The profile's checks are a minute apart, as hours-long jobs want it; these take seconds.
OFTEN = ("--slurm-init-seconds-before-status-checks", "2")

# Three jobs that go wrong until `repaired` is there, and one that must not mind. Status checks
# come later and later while no job succeeds, so the long one ends with the one that overruns.
MISHAPS = """
rule all:
    input: "fails", "cancelled", "overruns", "goes_on", "grows", "gpu"
    localrule: True

rule fails:
    output: "fails"
    log: "fails.log"
    resources: mem_mb=100, runtime=5
    shell: "echo 'marker CD99 has no sequence' > {log}; touch {output}; test -e repaired"

rule cancelled:
    output: "cancelled"
    log: "cancelled.log"
    resources: mem_mb=100, runtime=5
    shell: "touch {output}; test -e repaired || sleep 600"

rule overruns:
    output: "overruns"
    log: "overruns.log"
    resources: mem_mb=100, runtime=1
    shell: "touch {output}; test -e repaired || sleep 600"

rule goes_on:
    output: "goes_on"
    resources: mem_mb=100, runtime=5
    shell: "sleep 80; touch {output}"

rule grows:
    output: "grows"
    resources: mem_mb=lambda wildcards, attempt: 100 * attempt, runtime=5
    shell: "test {resources.mem_mb} -eq 200 && touch {output}"

rule gpu:
    output: "gpu"
    resources: mem_mb=100, runtime=5, gpu=1
    shell: "echo $CUDA_VISIBLE_DEVICES > {output}"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    try:
        with slurm.one_node_cluster(tmp_path_factory.mktemp("slurm")):
            yield
    except slurm.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def mishaps(cluster, tmp_path_factory, snakemake):
    """The folder in which three jobs go wrong, and that run, still going on in the background."""
    folder = tmp_path_factory.mktemp("mishaps")
    (folder / "Snakefile").write_text(MISHAPS)
    shutil.copytree(ROOT / "slurm", folder / "slurm")

    def cancelled_one():
        return [
            job["JobId"]
            for job in slurm.recorded_jobs(folder)
            if (job["Comment"], job["JobState"]) == ("rule_cancelled", "RUNNING")
        ]

    wanted = ("fails", "cancelled", "overruns", "goes_on")
    with ThreadPoolExecutor(1) as background:
        run = background.submit(
            snakemake, folder, "--profile", "slurm", *wanted, "--retries", "0", *OFTEN
        )
        slurm.wait_until(lambda: cancelled_one() and (folder / "cancelled").exists(), "a job", 120)
        slurm.output("scancel", *cancelled_one())
        yield folder, run


@pytest.fixture(scope="module")
def stages(cluster, mishaps, checkout, snakemake):
    """A copy of the checkout in which the embedded study ran up to a short pretraining."""
    folder = checkout("cluster")
    cohorts = ", ".join(f"demo/cohorts/{cohort}.yaml" for cohort in COHORTS)
    (folder / "short.yaml").write_text(f"cohorts: [{cohorts}]\npretrain: {{max_steps: 4}}\n")
    overlays = ("--configfile", "demo/study.yaml", "short.yaml")
    run = snakemake(folder, "--profile", "slurm", WEIGHTS, *overlays, *OFTEN)
    assert run.returncode == 0, run.stderr[-4000:]
    return folder


def show(jobs):
    """Print what SLURM recorded, for the output of the tests."""
    for job in jobs:
        fields = ("JobId", "JobName", "Comment", "JobState", "NumCPUs", "MinMemoryNode")
        print(*(job[field] for field in (*fields, "TimeLimit", "RunTime")))


def minutes(limit):
    """Return SLURM's [days-]hours:minutes:seconds in minutes."""
    days, _, clock = limit.rpartition("-")
    hours, minutes, _ = map(int, clock.split(":"))
    return (int(days or 0) * 24 + hours) * 60 + minutes


@pytest.mark.parametrize(("device", "gpus"), [("cpu", 0), ("cuda", 1)])
def test_only_jobs_that_compute_on_the_device_ask_for_gpus(device, gpus, tmp_path):
    # The full study lacks jobs that need cohorts behind a login; the embedded one has them.
    overrides = {"device": device}
    jobs = planned_jobs(overrides=overrides)
    shared = {"meyer_transfer": {"markers": "shared"}}  # cells are embedded once more
    jobs += planned_jobs([ROOT / "demo/study.yaml"], overrides | shared)
    mine = write_cohort(tmp_path, "mine", MINE, 1, 0, labelled=False)
    mine.write_text(mine.read_text().replace("simulated: true\n", ""))
    jobs += planned_jobs(overrides=overrides | {"cohort": str(mine)}, target="own_cohort")
    asked = {job.rule.name: job.resources.get("gpu", 0) for job in jobs}
    computing = {job.rule.name for job in jobs if "device" in job.params.keys()}
    profile = (ROOT / "slurm/config.yaml").read_text()
    named = set(re.findall(r"^#  (\w+): .*partition: gpu", profile, re.M))
    lacking = "\n".join(f"#  {name}: {{slurm_partition: gpu}}" for name in computing - named)
    assert not lacking, f"slurm/config.yaml: add below `#set-resources:`\n{lacking}"
    assert not named - computing, "slurm/config.yaml: these need no GPU, remove their lines"
    assert asked == {name: gpus if name in computing else 0 for name in asked}


@pytest.mark.parametrize(
    ("device", "processes", "nodes", "asked"),
    [
        ("cpu", 1, 1, {"--ntasks=1"}),
        ("cpu", 4, 1, {"--ntasks=1"}),
        ("cpu", 2, 2, {"--nodes=2", "--ntasks=2"}),
        ("cuda", 1, 1, {"--gpus=1"}),
        ("cuda", 4, 1, {"--nodes=1", "--gpus=4"}),
        ("cuda", 4, 2, {"--nodes=2", "--ntasks=2", "--gres=gpu:4"}),
    ],
)
def test_a_training_asks_for_its_gpus_and_nodes(device, processes, nodes, asked):
    """Of VirTues and of rivals alike; the report counts the GPUs that SLURM was asked for."""
    pretrain = {"processes": processes, "nodes": nodes, "threads": 3}
    jobs = planned_jobs(overrides={"device": device, "pretrain": pretrain})
    held = processes * nodes if device == "cuda" else 0
    for rule in ("pretrain", "pretrain_rival"):
        job = next(job for job in jobs if job.rule.name == rule)
        names = ("run_uuid", "slurm_logfile", "comment_str", "account", "partition", "workdir")
        command = get_submit_command(job, dict.fromkeys(names, "")) + set_gres_string(job)
        placed = re.findall(r"--(?:nodes|ntasks|gpus|gres|cpus)[\w-]*=\S+", command)
        assert set(placed) == {*asked, f"--cpus-per-task={3 * processes}"}, rule
    report = next(job for job in jobs if job.rule.name == "report")
    counted = [report.params.gpus.get(rule, 0) for rule in ("pretrain", "pretrain_rival")]
    assert counted == [held, held]


def test_a_second_attempt_asks_for_more_memory_and_time():
    """A job that SLURM ended for either would end so again; a training goes on instead.

    With twice the memory of several GPUs' processes it might fit no node.
    """
    jobs = list(filter(slurm.goes_to_the_cluster, planned_jobs([ROOT / "demo/study.yaml"])))
    assert len(jobs) > 150
    for job in jobs:
        memory, time = job.resources.mem_mb, job.resources.runtime
        job.attempt = 2
        more = 1 if job.rule.name.startswith("pretrain") else 2
        asked = f"{job.rule.name}: write mem_mb=megabytes(...), runtime=minutes(...)"
        assert (job.resources.mem_mb, job.resources.runtime) == (more * memory, more * time), asked


def test_the_full_study_is_planned_without_a_cluster(snakemake, checkout):
    run = snakemake(checkout("plan"), "--profile", "slurm", "-n", "all")
    assert run.returncode == 0, run.stderr[-3000:]


def test_slurm_records_what_each_rule_asks_for(stages):
    jobs = slurm.recorded_jobs(stages)
    show(jobs)
    planned = {}
    overlays = [ROOT / "demo/study.yaml", stages / "short.yaml"]
    for job in planned_jobs(overlays, target=WEIGHTS):
        name = "_wildcards_".join([f"rule_{job.rule.name}", *job.wildcards])
        if job.rule.name not in LOCAL:
            planned[name] = (job.threads, f"{job.resources.mem_mb}M", job.resources.runtime)
    assert {name.split("_")[1] for name in planned} >= {"ingest", "split", "preprocess", "pretrain"}
    assert planned == {
        job["Comment"]: (int(job["NumCPUs"]), job["MinMemoryNode"], minutes(job["TimeLimit"]))
        for job in jobs
    }
    assert len(jobs) == len(planned)
    for job in jobs:
        assert job["JobState"] == "COMPLETED" and job["JobName"].startswith("virtues_")
        assert "TresPerJob" not in job and "gpu" not in job["TRES"], "asked for a GPU"


def test_the_stages_leave_their_files_and_logs(stages):
    results = stages / "results/demo"
    assert (stages / WEIGHTS).stat().st_size > 10_000
    for cohort in COHORTS:
        assert (results / "archives" / cohort / "retrieved.json").exists()
        assert list((results / "cohorts" / cohort / "model_ready").glob("*.zarr"))
        for rule in ("retrieve", "ingest", "split", "preprocess"):
            assert (results / "logs" / rule / f"{cohort}.log").stat().st_size, rule
            assert (results / "benchmarks" / rule / f"{cohort}.tsv").stat().st_size, rule


def test_a_partition_that_is_not_there_is_named_before_any_job(stages, snakemake):
    before = len(slurm.recorded_jobs(stages))
    overlays = ("--configfile", "demo/study.yaml", "short.yaml")
    wanted = ("--forceall", "--set-resources", "pretrain:slurm_partition=gpux")
    run = snakemake(stages, "--profile", "slurm", WEIGHTS, *overlays, *wanted, *OFTEN)
    assert run.returncode == 1
    sentence = "rule pretrain asks for partition gpux, but this cluster has cpu"
    assert run.stderr.count(sentence) == 1
    assert len(slurm.recorded_jobs(stages)) == before


def test_the_queue_tells_jobs_of_snakemake_from_others(cluster, tmp_path, monkeypatch):
    folder = tmp_path / "a folder"
    folder.mkdir()
    names = ("an interactive shell", f"virtues_{uuid.uuid4()}")
    submit = ("sbatch", "--parsable", "--hold", f"--chdir={folder}", "--wrap=true")
    numbers = [slurm.output(*submit, f"--job-name={name}").strip() for name in names]
    try:
        assert jobs_of(folder) == dict(zip(numbers, names, strict=True))
        with pytest.raises(InputError, match=f"in the queue: {numbers[1]}; wait"):
            refuse_orphans(jobs_of(folder))
        monkeypatch.setenv("SLURM_JOB_ID", numbers[0])
        assert list(jobs_of(folder)) == numbers[1:]
    finally:
        slurm.output("scancel", *numbers)


def test_what_goes_wrong_is_noticed_and_named_with_its_log(mishaps):
    folder, run = mishaps
    run = run.result()
    jobs = slurm.recorded_jobs(folder)
    show(jobs)
    assert run.returncode == 1
    states = {job["Comment"].removeprefix("rule_"): job["JobState"] for job in jobs}
    wrong = {"fails": "FAILED", "cancelled": "CANCELLED", "overruns": "TIMEOUT"}
    assert states == wrong | {"goes_on": "COMPLETED"} and len(jobs) == len(states)
    # The log of a failed job, which follows, has an error of the same name of its own.
    error = r"Error in rule (\w+):\n(\s+message: SLURM-job.+?external)"
    errors = dict(re.findall(error, run.stderr, re.DOTALL))
    assert set(errors) == set(wrong)
    for rule, state in wrong.items():
        assert f"SLURM status is: '{state}'" in errors[rule]
        log = next(job["StdOut"] for job in jobs if job["Comment"] == f"rule_{rule}")
        assert f"{rule}.log" in errors[rule] and log in errors[rule] and Path(log).exists()
        assert not (folder / rule).exists(), "half-written output remains"
    assert "marker CD99 has no sequence" in run.stderr
    assert (folder / "goes_on").exists()


def test_a_second_run_completes_and_more_memory_comes_from_the_profile(mishaps, snakemake):
    folder, run = mishaps
    run.result()
    before = len(slurm.recorded_jobs(folder))
    (folder / "repaired").touch()
    again = snakemake(folder, "--profile", "slurm", "all", *OFTEN)
    assert again.returncode == 0, again.stderr[-3000:]
    jobs = slurm.recorded_jobs(folder)[before:]
    show(jobs)
    recorded = [(job["Comment"], job["JobState"], job["MinMemoryNode"]) for job in jobs]
    done = [
        (f"rule_{rule}", "COMPLETED", "100M") for rule in ("cancelled", "fails", "overruns", "gpu")
    ]
    twice = [("rule_grows", "FAILED", "100M"), ("rule_grows", "COMPLETED", "200M")]
    assert sorted(recorded) == sorted(done + twice)
    assert (folder / "gpu").read_text() == "0\n"
    asked = {job["Comment"]: job.get("TresPerJob") for job in jobs}
    assert asked.pop("rule_gpu") == "gres:gpu:1" and not any(asked.values())
