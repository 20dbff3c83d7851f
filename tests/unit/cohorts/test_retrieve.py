"""A cohort's files: checked against its record, kept where they are, told where they are not."""

import json
from types import SimpleNamespace

import pytest

from tests.unit.cohorts.bad_server import CONTENT, MD5, PAGE, SHA256, SIZE
from tests.unit.cohorts.published import zipped
from workflow_scripts.cohorts import retrieve as rule
from workflow_scripts.cohorts.records import describe_files, parse_record
from workflow_scripts.cohorts.retrieve import retrieve
from workflow_scripts.common.errors import InputError


def source(server, **changes):
    file = {"name": "a.zip", "url": f"{server.url}/a.zip", "size": SIZE, "md5": MD5}
    return {"files": [{**file, **changes}]}


def no_wait(seconds):
    raise AssertionError(f"waits {seconds} s")


def test_a_file_is_retrieved_once_and_described(server, cohort, tmp_path):
    mine = cohort(source=source(server))
    answer = retrieve(mine, tmp_path / "to", sleep=no_wait)
    assert (tmp_path / "to/a.zip").read_bytes() == CONTENT
    assert answer["files"] == [
        {
            "name": "a.zip",
            "url": f"{server.url}/a.zip",
            "size": SIZE,
            "md5": MD5,
            "sha256": SHA256,
            "checked_against": {"size": "cohort file", "md5": "cohort file"},
        }
    ]
    assert retrieve(mine, tmp_path / "to", sleep=no_wait) == answer
    assert len(server.requests) == 1
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["a.zip"]


def test_a_wrong_checksum_is_told_and_set_aside(server, cohort, tmp_path):
    mine = cohort(source=source(server, md5="0" * 32))
    sentence = f"a.zip: md5 is {MD5}, expected {'0' * 32} .cohort file.; what came is kept as a.zip"
    with pytest.raises(InputError, match=sentence):
        retrieve(mine, tmp_path / "to", sleep=no_wait)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["a.zip.bad"]


def test_a_wrong_size_is_told(server, cohort, tmp_path):
    mine = cohort(source=source(server, size=99))
    with pytest.raises(InputError, match="a.zip: size is 100000, expected 99 .cohort file."):
        retrieve(mine, tmp_path / "to", sleep=no_wait)


def test_a_file_placed_by_hand_is_checked_and_kept(server, cohort, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to/a.zip").write_bytes(CONTENT)
    answer = retrieve(cohort(source=source(server)), tmp_path / "to", offline=True)
    assert answer["files"][0]["sha256"] == SHA256 and server.requests == []
    (tmp_path / "to/a.zip").write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match="size is 99999, expected 100000 .*; remove it to"):
        retrieve(cohort(source=source(server)), tmp_path / "to")
    assert (tmp_path / "to/a.zip").read_bytes() == CONTENT[:-1], "a person's file is left alone"


def test_offline_says_which_file_to_put_where(server, cohort, tmp_path):
    sentence = f"offline: {tmp_path}/to/a.zip is not there; get {server.url}/a.zip elsewhere"
    with pytest.raises(InputError, match=sentence):
        retrieve(cohort(source=source(server)), tmp_path / "to", offline=True)


def test_what_only_a_person_can_get_is_told(cohort, tmp_path):
    mine = cohort(access="login", source={"files": [{"name": "a.zip"}]}, citation="Us, 2026")
    with pytest.raises(InputError, match="are behind a login .Us, 2026.; put a.zip into"):
        retrieve(mine, tmp_path / "to")
    archive = zipped(**{"p1.tiff": b"pixels"})
    for content, told in ((PAGE, "begins with b'<!DOC"), (archive[:-9], "has no end of a zip")):
        (tmp_path / "to/a.zip").write_bytes(content)
        with pytest.raises(InputError, match=told):
            retrieve(mine, tmp_path / "to")
    (tmp_path / "to/a.zip").write_bytes(archive)
    assert retrieve(mine, tmp_path / "to")["files"][0]["checked_against"] == {}


def zenodo(url, **changes):
    item = {
        "key": "a.zip",
        "size": SIZE,
        "checksum": f"md5:{MD5}",
        "links": {"self": url},
    }
    return json.dumps({"files": [{**item, **changes}]})


def mendeley(*items):
    return json.dumps(
        [
            {
                "filename": name,
                "size": SIZE,
                "content_details": {
                    "download_url": url,
                    "sha256_hash": SHA256,
                    "size": SIZE,
                },
            }
            for name, url in items
        ]
    ).encode()


ASKED = {"name": "a.zip", "size": "from_record", "md5": "from_record"}


def test_sizes_and_checksums_come_from_a_zenodo_record(server, cohort, tmp_path):
    server.texts["/api/records/7"] = zenodo(f"{server.url}/x").encode()
    mine = cohort(source={"record": f"{server.url}/api/records/7", "files": [ASKED]})
    answer = retrieve(mine, tmp_path / "to", sleep=no_wait)
    assert answer["files"][0]["checked_against"] == {"size": "record", "md5": "record"}
    assert answer["record"] == f"{server.url}/api/records/7"
    # The answer is kept: offline, the file can be checked again.
    asked = len(server.requests)
    assert retrieve(mine, tmp_path / "to", offline=True) == {
        **answer,
        "files": [{**answer["files"][0], "url": f"{server.url}/x"}],
    }
    assert len(server.requests) == asked


def test_offline_without_the_record_nothing_is_invented(cohort, tmp_path):
    mine = cohort(source={"record": "https://zenodo.org/api/records/7", "files": [ASKED]})
    sentence = "is needed to check its files; put it at .*/https_zenodo_org_api_records_7.json"
    with pytest.raises(InputError, match=sentence):
        retrieve(mine, tmp_path / "to", offline=True)


@pytest.mark.parametrize("below_root", [False, True])
def test_sizes_and_checksums_come_from_mendeley(server, cohort, tmp_path, below_root):
    base = "/public-api/datasets/id"
    listing = mendeley(("a.zip", f"{server.url}/a.zip"))
    server.texts[f"{base}/files?folder_id=root&version=2"] = b"[]" if below_root else listing
    server.texts[f"{base}/folders/2"] = b'[{"id": "f1", "name": "images"}]' if below_root else b"[]"
    server.texts[f"{base}/files?folder_id=f1&version=2"] = listing
    record = f"{server.url}{base}/files?folder_id=root&version=2"
    file = {"name": "a.zip", "size": "from_record", "sha256": "from_record"}
    answer = retrieve(cohort(source={"record": record, "files": [file]}), tmp_path, sleep=no_wait)
    assert answer["files"][0]["sha256"] == SHA256


def test_the_other_address_of_mendeley_serves_where_one_answers_with_json(server, cohort, tmp_path):
    server.texts["/files/1/file_downloaded"] = b'{"error": 400}'
    server.texts["/files/1/file_viewed"] = CONTENT
    mine = cohort(source=source(server, url=f"{server.url}/files/1/file_downloaded"))
    assert retrieve(mine, tmp_path / "to", sleep=no_wait)["files"][0]["md5"] == MD5


def test_a_record_on_disk_serves_offline(cohort, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/a.zip").write_bytes(CONTENT)
    record = zenodo((tmp_path / "archive/a.zip").as_uri())
    (tmp_path / "archive/record.json").write_text(record)
    mine = cohort(source={"record": "file://archive/record.json", "files": [ASKED]})
    answer = retrieve(mine, tmp_path / "to", offline=True)
    assert (tmp_path / "to/a.zip").read_bytes() == CONTENT
    assert answer["files"][0]["checked_against"] == {"size": "record", "md5": "record"}


@pytest.mark.parametrize("named", ["file:///etc/hostname", "http://127.0.0.1:9/a.zip"])
def test_a_record_from_elsewhere_may_not_name_what_is_on_this_machine(cohort, tmp_path, named):
    record, folder = "https://zenodo.org/api/records/7", tmp_path / "to"
    folder.mkdir()
    mine = cohort(source={"record": record, "files": [ASKED]})
    sentence = f"{record}: its answer names {named}, which is on this machine; expected an https"
    with pytest.raises(InputError, match=sentence):
        describe_files(mine, folder, lambda url: zenodo(named))
    # The answer was kept; what it names is not taken offline either.
    assert named in (folder / "https_zenodo_org_api_records_7.json").read_text()
    with pytest.raises(InputError, match=sentence):
        retrieve(mine, folder, offline=True)
    assert not (folder / "a.zip").exists()
    # The person who writes the cohort file may name what they like.
    mine = cohort(source={"record": record, "files": [ASKED | {"url": named}]})
    assert describe_files(mine, folder, None, offline=True)[0]["url"] == named


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ('{"files": []}', "the record has no file 'a.zip'; it has: none."),
        ('{"message": "gone"}', "expected the file list of a Zenodo record or of Mendeley Data"),
        ('[{"filename": "a.zip"}]', "expected the file list of a Zenodo record or of Mendeley"),
        (PAGE.decode(), "expected JSON, the answer begins '<!DOCTYPE html>"),
        (zenodo("u", checksum="sha256:" + SHA256), "gives no md5, only sha256, size, url; ask for"),
    ],
)
def test_each_fault_of_a_record_is_told(cohort, tmp_path, record, sentence):
    (tmp_path / "record.json").write_text(record)
    mine = cohort(source={"record": "record.json", "files": [ASKED]})
    with pytest.raises(InputError) as error:
        describe_files(mine, tmp_path, None)
    assert sentence in str(error.value)


def test_an_absent_record_or_source_is_told(cohort, tmp_path):
    mine = cohort(source={"record": "record.json", "files": [ASKED]})
    with pytest.raises(InputError, match="record.json: no such record"):
        retrieve(mine, tmp_path / "to")
    file = {"name": "a.zip", "url": "gone.zip", "size": 1, "md5": MD5}
    with pytest.raises(InputError, match="gone.zip: no such file"):
        retrieve(cohort(source={"files": [file]}), tmp_path / "to")


def test_a_checksum_without_its_kind_is_an_md5():
    """Old answers of Zenodo give the digest without the prefix."""
    answer = json.loads(zenodo("u", checksum=MD5))
    assert parse_record(answer, "r")["a.zip"] == {"url": "u", "size": SIZE, "md5": MD5}


def test_the_rule_writes_retrieved_json(server, cohort_file, tmp_path):
    snakemake = SimpleNamespace(
        input=SimpleNamespace(cohort=str(cohort_file(source=source(server)))),
        output=SimpleNamespace(retrieved=str(tmp_path / "to/retrieved.json")),
        config={"offline": False, "connections": 1},
    )
    rule.main(snakemake)
    written = json.loads((tmp_path / "to/retrieved.json").read_text())
    assert written["cohort"] == "mine" and written["files"][0]["sha256"] == SHA256
