"""A hash that follows what code does, through its imports."""

import pytest

from tests.own_study import write_study
from workflow_scripts.common import code_hash as module
from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.mock import planned_jobs
from workflow_scripts.common.provenance import listing


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROOT", tmp_path)
    package = tmp_path / "workflow_scripts/common"
    package.mkdir(parents=True)
    (package / "helper.py").write_text('"""One."""\n\n\ndef f(x):\n    """Two."""\n    return x\n')
    (package / "job.py").write_text("from workflow_scripts.common import failures\nLOUD = False\n")
    (package / "failures.py").write_text("SENTENCE = 'one'\n")
    script = tmp_path / "workflow_scripts/script.py"
    script.write_text(
        "from workflow_scripts.common import helper\n"
        "from workflow_scripts.common.job import LOUD\n\nprint(helper.f(1), LOUD)\n"
    )
    return tmp_path / "workflow_scripts"


def hashed():
    for read in (module._imports, module._without_docstrings, module._looks):
        read.cache_clear()
    return module.code_hash("workflow_scripts/script.py")


def test_docstrings_comments_and_logging_do_not_count(tree):
    before = hashed()
    helper = tree / "common/helper.py"
    helper.write_text('"""Other."""\n\n\ndef f(x):\n    # why\n    return x\n')
    (tree / "common/job.py").write_text("LOUD = True\n")
    assert hashed() == before


def test_what_silent_modules_alone_import_does_not_count(tree):
    failures, script = tree / "common/failures.py", tree / "script.py"
    before = hashed()
    failures.write_text("SENTENCE = 'two'\n")
    assert hashed() == before
    script.write_text(f"from workflow_scripts.common import failures\n{script.read_text()}")
    before = hashed()
    failures.write_text("SENTENCE = 'three'\n")
    assert hashed() != before


def test_the_words_of_a_failure_retrain_nothing():
    reached = module._reached(module.ROOT / "workflow_scripts/pretrain/pretrain.py")
    names = {path.name for path in reached}
    assert not names & {"job.py", "failures.py", "damage.py", "access.py", "manifest.py"}
    assert {"loop.py", "checkpoint.py", "device.py"} <= names


@pytest.mark.parametrize("file", ["script.py", "common/helper.py"])
def test_code_counts_also_where_it_is_imported(tree, file):
    before = hashed()
    path = tree / file
    path.write_text(path.read_text().replace("return x", "return x + 1").replace("(1)", "(2)"))
    assert hashed() != before


@pytest.mark.parametrize("file", ["../resources/palette.yaml", "templates/page.html"])
def test_what_an_output_looks_like_counts_where_the_code_names_it(tree, file):
    path, script = tree / file, tree / "script.py"
    path.parent.mkdir()
    (tree.parent / "resources").mkdir(exist_ok=True)
    (tree.parent / "resources/palette.yaml").touch()
    path.write_text("one")
    before = hashed()
    path.write_text("two")
    assert hashed() == before
    script.write_text(f"{script.read_text()}LOOK = 'palette.yaml', 'templates'\n")
    before = hashed()
    path.write_text("three")
    assert hashed() != before


def test_the_model_is_part_of_its_training():
    reached = module._reached(module.ROOT / "workflow_scripts/pretrain/pretrain.py")
    names = {path.relative_to(module.ROOT).as_posix() for path in reached}
    assert {"virtues_core/rotary.py", "workflow_scripts/common/crops.py"} <= names
    assert not any("report" in name for name in names)


def test_modules_that_are_imported_by_name_stand_beside_the_script():
    """An import by name is invisible to the hash; whoever adds one names it in the rule."""
    by_name = {
        path.relative_to(module.ROOT).as_posix()
        for package in module.PACKAGES
        for path in (module.ROOT / package).rglob("*.py")
        if "import_module(" in path.read_text()
    }
    # The backends of attention compute the same numbers, and a test holds them to one another.
    assert by_name == {
        "virtues_core/attention/api.py",
        "workflow_scripts/cohorts/readers/__init__.py",
    }


def test_an_edited_reader_repeats_the_ingest_of_its_cohorts_alone(monkeypatch):
    def hashes():
        jobs = planned_jobs(target="all")
        return {j.wildcards.cohort: j.params.code for j in jobs if j.rule.name == "ingest"}

    before = hashes()
    reader = module.ROOT / "workflow_scripts/cohorts/readers/mcd.py"
    monkeypatch.setattr(
        module,
        "_without_docstrings",
        lambda file, old=module._without_docstrings: old(file) + "x" * (file == reader),
    )
    after = hashes()
    changed = {cohort for cohort in before if before[cohort] != after[cohort]}
    assert changed and changed != set(before)
    readers = {cohort: load_cohort(cohort).reader for cohort in before}
    reached = {c: module._reached(reader.with_stem(name)) for c, name in readers.items()}
    assert changed == {cohort for cohort in before if reader in reached[cohort]}


def test_an_edited_reader_repeats_the_ingest_of_an_own_cohort(monkeypatch, tmp_path):
    study = write_study(tmp_path)
    rules = ("own_panel", "own_ingest")

    def hashes():
        jobs = planned_jobs([study], {"cohort": str(tmp_path / "mine.yaml")}, "own_cohort")
        return {job.rule.name: job.params.code for job in jobs if job.rule.name in rules}

    before = hashes()
    reader = module.ROOT / "workflow_scripts/cohorts/readers/stack_tiff.py"
    monkeypatch.setattr(
        module,
        "_without_docstrings",
        lambda file, old=module._without_docstrings: old(file) + "x" * (file == reader),
    )
    after = hashes()
    assert len(before) == 2 and not before.items() & after.items()


def jobs_that_follow(monkeypatch, name):
    """Return the jobs of the embedded study whose hash changes with a file of this name."""

    def planned():
        jobs = [job for job in planned_jobs(["demo/study.yaml"]) if job.rule.script]
        return {(job.rule.name, *sorted(job.wildcards_dict.items())): job for job in jobs}

    before, looks = planned(), module._looks
    with monkeypatch.context() as patch:
        patch.setattr(module, "_looks", lambda file: [p for p in looks(file) if p.name != name])
        after = planned()
    return [job for key, job in before.items() if job.params.code != after[key].params.code]


def test_a_changed_template_writes_the_page_again_and_nothing_else(monkeypatch):
    folder = module.ROOT / "workflow_scripts/report/templates"
    for path in folder.iterdir():
        changed = jobs_that_follow(monkeypatch, path.name)
        assert [job.rule.name for job in changed] == ["report"], path.name
    own = module.ROOT / "workflow_scripts/own/own_page.py"
    assert {path.name for path in module._looks(own)} == {"page.css", "page.html"}


@pytest.mark.parametrize("name", module.LOOKS)
def test_a_changed_palette_or_style_draws_again_and_trains_nothing(monkeypatch, name):
    changed = jobs_that_follow(monkeypatch, name)
    outputs = [str(path) for job in changed for path in job.output]
    assert len(outputs) > 50
    places = "results/demo/figures/", "results/demo/report/"
    assert [path for path in outputs if not path.startswith(places)] == []


def test_a_listing_notices_new_and_changed_files(tmp_path):
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub/a.tiff"
    file.write_bytes(b"1")
    first = listing(tmp_path)
    assert listing(tmp_path) == first and listing(None) is None
    file.write_bytes(b"12")
    second = listing(tmp_path)
    (tmp_path / "b.tiff").write_bytes(b"1")
    assert len({first, second, listing(tmp_path)}) == 3
