"""The graph of the study with all fifteen cohorts, and with each one absent."""

from pathlib import Path

import pytest

from workflow_scripts.common.cohort import ROOT, load_cohort
from workflow_scripts.common.mock import planned_jobs

COHORTS = sorted(path.stem for path in (ROOT / "cohorts").glob("*.yaml"))


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Return a folder in which every file that a person must place lies, empty."""
    folder = tmp_path_factory.mktemp("archives")
    for name in COHORTS:
        cohort = load_cohort(name)
        if cohort.access != "open":
            (folder / name).mkdir()
            for file in cohort.files:
                (folder / name / file["name"]).touch()
    return str(folder)


def graph(archives, cohorts):
    jobs = planned_jobs(overrides={"archives": archives, "cohorts": cohorts})
    made = {path for job in jobs for path in map(str, job.output)}
    cohorts = {job.wildcards.cohort for job in jobs if job.rule.name == "ingest"}
    instances = {job.wildcards.instance for job in jobs if job.rule.name == "pretrain"}
    return jobs, made, cohorts, instances


def test_with_every_archive_placed_all_fifteen_are_ingested_and_all_instances_trained(archives):
    jobs, made, ingested, trained = graph(archives, COHORTS)
    assert sorted(ingested) == COHORTS
    assert trained >= {"all14", "only_danenberg2022", "wo_wang2023", "wo_rigamonti"}
    assert len(jobs) < 1500
    assert "results/virtues/report/index.html" in made


@pytest.mark.parametrize("absent", COHORTS)
def test_without_one_cohort_the_rest_of_the_study_is_planned(absent, archives):
    jobs, made, ingested, trained = graph(archives, [c for c in COHORTS if c != absent])
    assert sorted(ingested) == [c for c in COHORTS if c != absent]
    assert not any(absent in name for name in trained)
    assert "all14" in trained
    # Its targets still have their numbers, which say why there is none.
    figures = {Path(path).parent.name for path in made if path.endswith("numbers.json")}
    assert {"fig1b", "fig2d", "tableS3", "tableS4", "tableS5", "tableS6"} <= figures
    inputs = {str(path) for job in jobs for path in job.input}
    assert not any(f"/{absent}/" in path for path in inputs)


def test_cells_are_labelled_anew_once_the_verified_images_are_listed(tmp_path):
    settings = {"archives": str(tmp_path), "cohorts": COHORTS}
    assert "reannotate" not in {job.rule.name for job in planned_jobs(overrides=settings)}
    (tmp_path / "cords2024").mkdir()
    (tmp_path / "cords2024/verified_images.csv").write_text("tissue_id\n175_C_57\n")
    jobs = planned_jobs(overrides=settings)
    [job] = [job for job in jobs if job.rule.name == "reannotate"]
    assert job.wildcards.cohort == "cords2024" and job.log and job.benchmark
    readers = [job for job in jobs if any("reannotated.parquet" in str(p) for p in job.input)]
    assert [(job.rule.name, job.wildcards.cohort) for job in readers] == [("split", "cords2024")]
    # Probes score the archive's own labels as well (T12).
    probed = next(j for j in jobs if j.rule.name == "probe_cells" and j.wildcards.model == "all14")
    assert {("cords2024", "cell_category"), ("cords2024", "cell_type_published")} <= {
        *probed.params.tasks
    }
