from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from workflow_scripts.common.cohort import ROOT, absent_reason, load_cohort
from workflow_scripts.common.errors import InputError


def test_the_schema_is_one():
    Draft202012Validator.check_schema(yaml.safe_load((ROOT / "cohort.schema.yaml").read_text()))


@pytest.mark.parametrize("path", sorted((ROOT / "cohorts").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_cohort_of_the_study_loads_by_its_id(path):
    cohort = load_cohort(path.stem)
    assert cohort.id == path.stem and cohort.path == path


@pytest.mark.parametrize(
    ("name", "channels", "accessions", "twice"),
    [
        # The sheets: 38 channels of which 2 are DNA; 39 of which 2 are DNA, HER2 twice.
        ("damond2019", 38, 36, {"P68431", "P01308", "P08575"}),
        ("danenberg2022", 39, 37, {"P04626", "P08575"}),
    ],
)
def test_panels_are_complete(name, channels, accessions, twice):
    panel = load_cohort(name).panel
    found = [row["uniprot"] for row in panel if "uniprot" in row]
    assert (len(panel), len(found)) == (channels, accessions)
    assert {one for one in found if found.count(one) > 1} == twice
    assert [row["channel"] for row in panel if "uniprot" not in row] == ["Ir191", "Ir193"]


@pytest.mark.parametrize("name", ["damond2019", "danenberg2022"])
def test_accessions_agree_with_the_marker_table(name, shared):
    """The marker table of the data sheets lists an accession per alias and cohort."""
    lines = (line.split(",") for line in shared("datasets/_markers.csv").read_text().splitlines())
    known = {fields[1] for fields in lines if name in ",".join(fields)}
    assert {row["uniprot"] for row in load_cohort(name).panel if "uniprot" in row} <= known


def test_all_phenotypes_of_danenberg_have_one_of_eight_classes():
    classes = load_cohort("danenberg2022").cells["maps"]["cell_type"]["to"]
    labels = [label for members in classes.values() for label in members]
    assert len(classes) == 8 and len(labels) == len(set(labels)) == 32


def test_an_unknown_id_gets_the_nearest():
    with pytest.raises(InputError, match="'damond2018' is unknown; did you mean 'damond2019'?"):
        load_cohort("damond2018")


def test_addresses_and_paths_are_relative_to_the_file(cohort, tmp_path):
    mine = cohort()
    assert mine.folder == tmp_path / "data"
    assert mine.url("https://x.org/a b") == "https://x.org/a b"
    for text in ("r/record.json", "file://r/record.json", f"file://{tmp_path}/r/record.json"):
        assert mine.url(text) == (tmp_path / "r/record.json").as_uri()
    with pytest.raises(InputError, match="expected an https or file:// address"):
        mine.url("ftp://x.org/a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    assert mine.url("b/../linked/a.zip") == (tmp_path / "linked/a.zip").as_uri()


def test_local_files_are_what_retrieving_reads(cohort, tmp_path):
    check = {"size": "from_record", "md5": "from_record"}
    files = [{"name": "a.zip", **check}, {"name": "b.zip", "url": "b/b.zip", **check}]
    mine = cohort(source={"record": "file://record.json", "files": files})
    assert mine.local_files == [tmp_path / "record.json", tmp_path / "b/b.zip"]
    assert mine.folder is None


FILE = {"name": "a.zip", "url": "https://x.org/a.zip", "size": 3, "md5": "0" * 32}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"redaer": "x"}, "unknown key 'redaer'; did you mean 'reader'?"),
        ({"layout": {"image": {}}}, "unknown key 'layout.image'; did you mean 'images'?"),
        ({"reader": "spora"}, "unknown key 'layout.images'; allowed: modality, resolution"),
        ({"title": None}, "missing key 'title'"),
        ({"pixel_size": 0}, "key 'pixel_size' is 0"),
        ({"panel": [{"chanel": "A"}]}, "unknown key 'panel[0].chanel'; did you mean 'channel'?"),
        ({"source": {}}, "either `files` to retrieve or a `folder`"),
        ({"source": {"folder": "a", "files": [FILE]}}, "either `files` to retrieve or a `folder`"),
        (
            {"source": {"files": [{**FILE, "md5": "from_record"}]}},
            "a.zip: `from_record` needs the address of the record",
        ),
        (
            {"source": {"files": [{"name": "a.zip", "url": "a.zip", "size": 3}]}},
            "a.zip: expected `size` and one of `md5` and `sha256`",
        ),
        (
            {"source": {"files": [{k: v for k, v in FILE.items() if k != "url"}]}},
            "a.zip: nothing says where to get it",
        ),
        ({"layout": {"images": {"pattern": "(a"}}}, "key 'layout.images': not a regular"),
        ({"layout": {"images": {"pattern": "a"}}}, "has no named group (?P<tissue>...)"),
        ({"reader": "channel_tiff"}, "has no named group (?P<channel>...)"),
        (
            {
                "cells": {
                    "file": "c.csv",
                    "tissue": "{t}",
                    "cell": "c",
                    "labels": {"fine": "f"},
                    "maps": {"coarse": {"from": "fin", "to": {}, "provenance": "p"}},
                }
            },
            "key 'cells.maps.coarse.from' is 'fin', expected one of cells.labels: fine.",
        ),
    ],
)
def test_each_fault_of_a_cohort_file_is_told(cohort, changes, sentence):
    with pytest.raises(InputError) as error:
        cohort(**changes)
    assert sentence in str(error.value) and "mine.yaml" in str(error.value)


def test_the_id_is_the_name_of_the_file(cohort_file):
    path = cohort_file()
    other = path.rename(path.with_name("other.yaml"))
    with pytest.raises(InputError, match="key 'id' is 'mine', expected the stem .* 'other'"):
        load_cohort(other)


def test_only_what_a_person_must_place_can_be_absent(cohort, tmp_path):
    assert absent_reason(cohort(), tmp_path / "archives") is None
    by_hand = {"files": [{"name": "a.zip"}, {"name": "b.zip"}], "record": "https://x.org/1"}
    mine = cohort(access="request", source=by_hand)
    assert absent_reason(mine, Path("archives/mine")) == (
        "the data of mine are given on request (https://x.org/1); put a.zip, b.zip into "
        "archives/mine"
    )
    (tmp_path / "a.zip").write_bytes(b"")
    assert "put b.zip into" in absent_reason(mine, tmp_path)
    (tmp_path / "b.zip").write_bytes(b"")
    assert absent_reason(mine, tmp_path) is None
    on_disk = cohort(access="login", source={"folder": "elsewhere"}, citation="Us, 2026")
    assert absent_reason(on_disk, tmp_path).startswith("the data of mine are behind a login (Us, 2")
