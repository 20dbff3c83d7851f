"""Faults as a user meets them: one sentence through snakemake, and nothing half-written left."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

COHORT = {
    "title": "a cohort for tests",
    "access": "open",
    "reader": "stack_tiff",
    "layout": {"images": {"pattern": r"(?P<tissue>(?P<patient>p\d)_\d)\.tiff$"}},
    "panel": [{"channel": "SMA", "uniprot": "P62736"}, {"channel": "CD3"}, {"channel": "DNA"}],
}


@pytest.fixture(scope="module")
def workplace(checkout):
    return checkout("faults")


@pytest.fixture
def study(workplace, request):
    """Return a function that writes a cohort file and an overlay, both named after the test."""
    name = "c" + hashlib.md5(request.node.name.encode(), usedforsecurity=False).hexdigest()[:8]

    def write(settings=None, **cohort):
        (workplace / "own").mkdir(exist_ok=True)
        document = COHORT | {"id": name} | cohort
        (workplace / f"own/{name}.yaml").write_text(yaml.safe_dump(document))
        overlay = {"study": name, "device": "cpu", "cohorts": [f"own/{name}.yaml"]}
        overlay = overlay | {"cohort_threads": 1} | (settings or {})
        (workplace / f"{name}.yaml").write_text(yaml.safe_dump(overlay))
        return name

    return write


@pytest.fixture
def run(workplace, snakemake):
    """Return a function that runs snakemake for some targets of a study of the workplace."""

    def run(name, *targets):
        return snakemake(workplace, "--cores", 1, *targets, "--configfile", f"{name}.yaml")

    return run


def write_images(folder, *channels):
    """Write a 40 px image of each number of `channels`: tissues p1_1, p2_2, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number, count in enumerate(channels, start=1):
        image = rng.poisson(3, (count, 40, 40)).astype(np.float32)
        path = folder / f"p{number}_{number}.tiff"
        tifffile.imwrite(path, image, photometric="minisblack")


def test_a_cohort_follows_what_its_file_says_of_the_data(workplace, study, run):
    write_images(workplace / "own/followed/images", 3)
    said = {"source": {"folder": "followed"}, "pixel_size": 1.0}
    name = study(**said)
    target = f"results/{name}/ingest/{name}/ingest.json"
    assert run(name, target).returncode == 0
    study(**said, remarks="as the authors write", citation="theirs")
    assert "Nothing to be done" in run(name, target).stderr
    study(**said | {"pixel_size": 0.5})
    assert f"Ingesting {name}" in run(name, target, "-n").stdout


def fails_with(done, sentence):
    """Check that a run failed, said `sentence` once, and showed no Python traceback."""
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert output.count(sentence) == 1, output[-3000:]
    assert "Traceback" not in output, output[-3000:]


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"pretrian": {"batch": 3}}, "unknown key 'pretrian'; did you mean 'pretrain'?"),
        ({"tissue": {"min_sied": 9}}, "unknown key 'tissue.min_sied'; did you mean 'min_side'?"),
        ({"frobnicate": 1}, "unknown key 'frobnicate'; allowed: study, simulated, offline,"),
        ({"cohorts": ["damnod2019"]}, "cohort 'damnod2019' is unknown; did you mean 'damond2019'?"),
        ({"cohorts": ["own/none.yaml"]}, "own/none.yaml: no such file; check the path."),
    ],
)
def test_wrong_settings_stop_before_the_first_job(workplace, study, run, settings, sentence):
    name = study(settings, source={"folder": "."})
    fails_with(run(name, "all"), sentence)
    assert not (workplace / "results" / name).exists()


def test_a_wrong_key_of_a_cohort_file_is_named_with_its_file(workplace, study, run):
    name = study(source={"folder": "."}, pixelsize=0.5)
    sentence = f"own/{name}.yaml: unknown key 'pixelsize'; did you mean 'pixel_size'?"
    fails_with(run(name, "all"), sentence)


def test_a_wrong_checksum_keeps_the_archive_from_its_name_until_it_is_right(workplace, study, run):
    write_images(workplace / "own/zipped", 3, 3)
    archive = workplace / "own/images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((workplace / "own/zipped").iterdir()):
            file.write(path, path.name)
    content = archive.read_bytes()
    entry = {"key": "images.zip", "size": len(content), "links": {"self": archive.as_uri()}}
    record = workplace / "own/record.json"
    record.write_text(json.dumps({"files": [entry | {"checksum": f"md5:{32 * '0'}"}]}))
    name = study(
        source={
            "record": "record.json",
            "files": [{"name": "images.zip", "size": "from_record", "md5": "from_record"}],
        },
        layout={"images": {"archive": "images.zip", **COHORT["layout"]["images"]}},
    )
    summary = f"results/{name}/ingest/{name}/ingest.json"
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    sentence = f"images.zip: md5 is {digest}, expected {32 * '0'} (record); what came is kept as"
    fails_with(run(name, summary), sentence)
    folder = workplace / "results/archives" / name
    assert files_below(folder) == ["images.zip.bad"]
    assert sentence in (workplace / f"results/{name}/logs/retrieve/{name}.log").read_text()
    assert not (workplace / f"results/{name}/ingest").exists()

    record.write_text(json.dumps({"files": [entry | {"checksum": f"md5:{digest}"}]}))
    done = run(name, summary)
    assert done.returncode == 0, done.stderr[-3000:]
    retrieved = json.loads((folder / "retrieved.json").read_text())
    assert retrieved["files"][0]["md5"] == digest
    assert (folder / "images.zip").read_bytes() == content
    assert json.loads((workplace / summary).read_text())["tissues"] == 2


def test_offline_says_which_file_to_put_where_and_takes_it_from_there(workplace, study, run):
    write_images(workplace / "own/placed", 3)
    source = workplace / "own/placed/p1_1.tiff"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    file = {"name": "p1_1.tiff", "url": "https://example.org/p1_1.tiff", "sha256": digest}
    size = source.stat().st_size
    name = study({"offline": True}, source={"files": [file | {"size": size}]})
    wanted = workplace / "results/archives" / name / "p1_1.tiff"
    sentence = (
        f"offline: results/archives/{name}/p1_1.tiff is not there; "
        "get https://example.org/p1_1.tiff elsewhere and put it there."
    )
    fails_with(run(name, "retrieve_all"), sentence)
    wanted.parent.mkdir(exist_ok=True)
    source.rename(wanted)
    assert run(name, "retrieve_all").returncode == 0
    assert (wanted.parent / "retrieved.json").exists()


def test_panel_and_image_disagree_on_real_images(workplace, shared, study, run):
    folder = shared("real/damond2019/E34_imc.tiff").parent
    layout = {
        "images": {"pattern": r"^(?P<tissue>[A-Z]\d\d)_imc\.tiff$"},
        "masks": {"pattern": r"^(?P<tissue>[A-Z]\d\d)_mask\.tiff$"},
    }
    names = ["H3", "CD99", "PIN", "CD8a", "CDH1"]
    settings = {"source": {"folder": str(folder)}, "layout": layout, "patient": "{tissue}"}
    name = study(panel=[{"channel": channel} for channel in names[:4]], **settings)
    summary = f"results/{name}/ingest/{name}/ingest.json"
    sentence = "E34_imc.tiff: the image has 5 channels and the panel names 4; correct the panel"
    fails_with(run(name, summary), sentence)
    assert sentence in (workplace / f"results/{name}/logs/ingest/{name}.log").read_text()
    assert not list((workplace / f"results/{name}/ingest").rglob("*"))

    study(panel=[{"channel": channel} for channel in names], **settings)
    assert run(name, summary).returncode == 0
    counts = json.loads((workplace / summary).read_text())
    assert (counts["tissues"], counts["channels"], counts["cell_masks"]) == (3, 5, 3)


def test_a_fault_of_the_last_image_leaves_nothing_of_those_before(workplace, study, run):
    images = workplace / "own/late"
    write_images(images, 3, 3, 4)
    name = study(source={"folder": "late"})
    fails_with(
        run(name, f"results/{name}/splits/{name}.csv"),
        "p3_3.tiff: the image has 4 channels and the panel names 3; correct the panel",
    )
    log = (workplace / f"results/{name}/logs/ingest/{name}.log").read_text()
    assert "tissue p2_2: image (3, 40, 40)" in log and "p3_3.tiff: the image has 4" in log
    results = workplace / "results" / name
    assert files_below(results) == [f"logs/ingest/{name}.log", "study.json"]

    write_images(images, 3, 3, 3)
    assert run(name, f"results/{name}/splits/{name}.csv").returncode == 0
    assert len(pd.read_parquet(results / f"ingest/{name}/tissues.parquet")) == 3


def test_a_script_runs_by_hand_with_the_paths_of_its_rule(workplace, study, run):
    write_images(workplace / "own/hand", 3, 3, 3)
    settings = {"tissue": {"min_side": 32, "min_coverage": 0.0}, "sub_images": {"side": 32}}
    settings |= {"pretrain": {"crop": 16}}
    name = study(settings, source={"folder": "hand"})
    results = workplace / "results" / name
    assert run(name, f"results/{name}/ingest/{name}/ingest.json").returncode == 0
    command = [sys.executable, "-m", "workflow_scripts.cohorts.split", f"cohort={name}"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    by_hand = subprocess.run(
        [*command, "--configfile", f"{name}.yaml"],
        cwd=workplace,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert by_hand.returncode == 0, by_hand.stderr[-3000:]
    assert "12 of 12 sub-images kept" in by_hand.stderr
    split = pd.read_csv(results / f"splits/{name}.csv").set_index("patient_id")["split"]
    assert sorted(split) == ["test", "train", "train"] and set(split.index) == {"p1", "p2", "p3"}
    assert (results / f"cohorts/{name}/imc/1_0mpp/images/p1_1.ome.zarr/zarr.json").exists()
    # What snakemake makes of the same inputs is the same, so by hand was no special case.
    before = (results / f"splits/{name}.csv").read_bytes()
    assert run(name, f"results/{name}/splits/{name}.csv", "--forcerun", "split").returncode == 0
    assert (results / f"splits/{name}.csv").read_bytes() == before
