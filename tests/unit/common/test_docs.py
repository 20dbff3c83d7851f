"""What the documents print is what the checkout has: settings, commands, files, folders, links."""

import re
from pathlib import Path, PurePosixPath

import pytest
import yaml
from snakemake.utils import update_config

from tests.own_study import MINE, write_cohort
from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.mock import planned_jobs
from workflow_scripts.common.study import Study

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/own-cohort.md").read_text(), re.M | re.S)
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def name_of(block):
    """Return the file name in the first line of a block of settings."""
    match = re.match(r"# (\S+\.yaml)\n", block)
    assert match, f"the first line names no file: {block.splitlines()[0]}"
    return match[1]


@pytest.fixture
def printed_files(tmp_path, monkeypatch):
    """Go to a folder that holds the blocks as the files that their first lines name."""
    for block in BLOCKS:
        path = tmp_path / name_of(block)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("printed_files")
@pytest.mark.parametrize("block", BLOCKS, ids=map(name_of, BLOCKS))
def test_the_settings_that_are_printed_are_accepted(block):
    name, document = name_of(block), yaml.safe_load(block)
    if (ROOT / name).exists():
        assert document == yaml.safe_load((ROOT / name).read_text()), f"{name} says otherwise"
    if "study" not in document:
        assert load_cohort(name).id == document["id"]
        return
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(config, document)
    study = Study(config)
    for cohort, labels in document.get("cells", {}).get("labels", {}).items():
        assert set(labels) <= set(study.cohorts[cohort].cells["labels"])


def test_every_reader_and_an_overlay_are_shown():
    schema = yaml.safe_load((ROOT / "cohort.schema.yaml").read_text())
    shown = {yaml.safe_load(block).get("reader") for block in BLOCKS}
    assert shown == {*schema["properties"]["reader"]["enum"], None}


def prose(document):
    """Return a document without its blocks of settings."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)


def in_backticks(document):
    return set(re.findall(r"`([^`\n]+)`", prose(document)))


def commands(document):
    """Return the command lines: those that are indented, and those in backticks."""
    lines = re.findall(r"^    (\S.*)$", prose(document), re.M)
    return [line for line in (*lines, *in_backticks(document)) if " " in line]


@every_document
def test_every_make_target_that_is_named_exists(document):
    targets = set(re.findall(r"^([a-z_]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {line.split()[1] for line in commands(document) if line.startswith("make ")}
    assert named <= targets
    assert {"demo", "test", "real"} <= named or document.name != "README.md"


@every_document
def test_every_link_leads_somewhere(document):
    text = prose(document)
    headings = {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.M)
    }
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?://", link):
            path, _, anchor = link.partition("#")
            assert path or anchor in headings, f"no heading {link}"
            assert (document.parent / path).exists(), f"nothing at {link}"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return patterns of what the full study's jobs write: * for its cohorts, models and so on."""
    patterns = {"results/*"}
    mine = write_cohort(tmp_path_factory.mktemp("own"), "mine", MINE, 1, 0, labelled=False)
    mine.write_text(mine.read_text().replace("simulated: true\n", ""))
    own = planned_jobs(overrides={"cohort": str(mine)}, target="own_cohort")
    for job in (*planned_jobs(target=["all", "export", "partial_report"]), *own):
        beside = ("cache", "checkpoint_folder", "folder", "tensorboard_folder")
        cache = [value for key, value in job.params.items() if key in beside]
        cache += job.params.get("downloads", [])
        for path in filter(None, (*job.output, *job.log, job.benchmark, *cache)):
            names = ("virtues", *job.wildcards_dict.values())
            for name in names:
                path = str(path).replace(f"results/{name}/", "results/*/").replace(f"/{name}", "/*")
            folders = path.split("/")
            patterns |= {"/".join(folders[:end]) for end in range(3, len(folders) + 1)}
            patterns |= {f"{path}/*"} if "." not in folders[-1] else set()
    return patterns


@pytest.fixture(scope="module")
def sources():
    """Return the text of all rules, scripts, settings and cohort files."""
    files = [*ROOT.glob("rules/*.smk"), *ROOT.glob("workflow_scripts/**/*.py")]
    files += ROOT.glob("cohorts/*.yaml")  # which name the files of the archives
    return "\n".join(path.read_text() for path in (*files, ROOT / "config.yaml"))


@every_document
def test_every_file_and_folder_that_is_named_exists(document, written, sources):
    words = {word for line in commands(document) for word in line.split()}
    for text in sorted(in_backticks(document) | words):
        name = re.sub(r"<\w+>", "any", text).rstrip("/")
        if not re.fullmatch(r"[\w./-]+", name) or name.startswith(("own/", "-", ".", "/")):
            continue  # no path, or one of the reader's own
        if name.startswith("results/"):
            found = any(PurePosixPath(name).match(pattern) for pattern in written)
        elif "/" in name:
            found = (ROOT / name).exists() or (document.parent / name).exists()
        elif re.search(r"\.(csv|fasta|html|json|md|parquet|py|safetensors|smk|yaml|zarr)$", name):
            # Bare names are also those of results and of files in a cohort's folder.
            found = (ROOT / name).exists() or name in sources or name == "mine.yaml"
        else:
            continue
        assert found, f"{document.name}: there is no {text}"
