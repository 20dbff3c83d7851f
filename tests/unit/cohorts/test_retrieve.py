"""Transfers against a local server that behaves as badly as real ones do."""

import hashlib
import json
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from workflow_scripts.cohorts import retrieve as rule
from workflow_scripts.cohorts.records import describe_files, parse_record
from workflow_scripts.cohorts.retrieve import retrieve
from workflow_scripts.common import transfer
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.transfer import fetch

CONTENT = b"PK" + np.random.default_rng(0).bytes(99_998)
SIZE, CUT = 100_000, 40_000  # 40 %
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


class Server:
    """Answers each request with the next behaviour of a list, the last one for ever."""

    def __init__(self):
        self.behaviours, self.requests, self.etag = [self.send], [], '"v1"'
        self.content, self.texts = CONTENT, {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append((self.path, dict(self.headers)))
                if self.path in server.texts:
                    server.answer(self, 200, server.texts[self.path])
                    return
                behave = server.behaviours[0]
                if len(server.behaviours) > 1:
                    server.behaviours.pop(0)
                behave(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request, status, body, length=None, **headers):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        if length != "none":
            request.send_header("Content-Length", str(length or len(body)))
        request.end_headers()
        request.wfile.write(body)

    def send(self, request, ranges=True, until=None):
        """Send the file, or from where Range says if If-Range names the version at hand."""
        start, headers = 0, {"ETag": self.etag} if self.etag else {}
        if ranges and request.headers.get("If-Range") == self.etag is not None:
            start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            headers["Content_Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        body = self.content[start:]
        status = 206 if "Content_Range" in headers else 200
        self.answer(request, status, body[: until and until - start], len(body), **headers)

    def cut(self, request):
        self.send(request, until=CUT)

    def without_ranges(self, request):
        self.send(request, ranges=False)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def get(server, tmp_path, waits):
    """Fetch the server's file into tmp_path and return its bytes."""

    def fetch_it(size=SIZE):
        part = tmp_path / "a.zip.part"
        fetch(f"{server.url}/a.zip", part, size, waits.append)
        assert sorted(tmp_path.iterdir()) == [part], "the note is gone after success"
        return part.read_bytes()

    return fetch_it


def test_a_plain_transfer(server, get):
    assert get() == CONTENT
    assert server.requests[0][1]["User-Agent"].startswith("Mozilla/5.0")


def test_a_cut_transfer_goes_on_at_40_percent(server, get, waits):
    server.behaviours = [server.cut, server.send]
    assert get() == CONTENT
    assert server.requests[1][1]["Range"] == f"bytes={CUT}-"
    assert server.requests[1][1]["If-Range"] == '"v1"'
    assert waits == [2.0]


def test_a_transfer_goes_on_in_a_later_run(server, get, tmp_path, waits):
    server.behaviours = [server.cut, lambda request: server.answer(request, 503, b"")]
    with pytest.raises(InputError, match=f"no success in 6 tries .* the {CUT} bytes received"):
        get()
    assert (tmp_path / "a.zip.part").stat().st_size == CUT
    server.behaviours = [server.send]
    assert get() == CONTENT
    assert server.requests[-1][1]["Range"] == f"bytes={CUT}-"
    # 2, 4, ... s: any new byte starts the count of failures again.
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0]


def test_a_server_that_ignores_ranges_sends_all_again(server, get):
    server.behaviours = [server.cut, server.without_ranges]
    assert get() == CONTENT


def test_another_version_is_never_appended(server, get):
    def change(request):
        server.etag, server.content = '"v2"', CONTENT[::-1]
        server.send(request)

    server.behaviours = [server.cut, change, server.send]
    assert get() == CONTENT[::-1]


def test_a_server_that_resumes_another_version_is_not_believed(server, get):
    def append_wrongly(request):
        """Send the rest of a new version although If-Range names the old one."""
        server.content, server.etag = CONTENT[::-1], '"v2"'
        span = f"bytes {CUT}-{SIZE - 1}/{SIZE}"
        server.answer(request, 206, server.content[CUT:], ETag='"v2"', Content_Range=span)

    server.behaviours = [server.cut, append_wrongly, server.send]
    assert get() == CONTENT[::-1]


def test_a_server_that_resumes_elsewhere_is_not_believed(server, get):
    def elsewhere(request):
        server.answer(request, 206, CONTENT[9:], ETag='"v1"', Content_Range="bytes 9-99/100")

    server.behaviours = [server.cut, elsewhere, server.send]
    assert get() == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_name_of_the_version_it_starts_again(server, get, etag):
    server.etag, server.behaviours = etag, [server.cut, server.send]
    assert get() == CONTENT
    assert "Range" not in server.requests[1][1]


def test_a_transfer_of_unknown_length_is_known_to_be_cut(server, get):
    def cut_silently(request):
        server.answer(request, 200, CONTENT[:CUT], length="none", ETag='"v1"')

    server.behaviours = [cut_silently, server.send]
    assert get() == CONTENT
    assert server.requests[1][1]["Range"] == f"bytes={CUT}-"


def test_a_part_longer_than_the_file_is_given_up(server, get, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENT + b"more")
    note = {"url": f"{server.url}/a.zip", "version": '"v1"'}
    (tmp_path / "a.zip.part.json").write_text(json.dumps(note))
    server.behaviours = [lambda request: server.answer(request, 416, b""), server.send]
    assert get() == CONTENT


def test_a_part_of_unknown_origin_is_not_used(server, get, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(b"x" * CUT)
    assert get() == CONTENT
    assert "Range" not in server.requests[0][1]


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("7", 7, 7), ("999999", 300, 300), (formatdate(4e9, usegmt=True), 300, 300), ("soon", 2, 2)],
)
def test_it_waits_as_long_as_the_server_asks(server, get, waits, header, low, high):
    busy = [lambda request: server.answer(request, 429, b"", Retry_After=header)]
    server.behaviours = [*busy, server.send]
    assert get() == CONTENT
    assert len(waits) == 1 and low <= waits[0] <= high


@pytest.mark.parametrize(
    ("body", "kind"),
    [(PAGE, "HTML"), (b'{"error": 400}', "JSON"), (b"  \n<HTML>sorry", "HTML")],
)
def test_an_error_message_with_status_200_is_no_file(server, get, tmp_path, body, kind):
    server.behaviours = [server.cut, lambda request: server.answer(request, 200, body)]
    with pytest.raises(InputError, match=f"got {kind}, expected zip: '"):
        get(size=None)
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:CUT], "what was received is kept"


def test_a_json_file_may_be_json(server, tmp_path):
    server.content = b'{"a": 1}'
    fetch(f"{server.url}/a.json", tmp_path / "a.json.part")
    assert (tmp_path / "a.json.part").read_bytes() == b'{"a": 1}'


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(403, "access refused .status 403.; get the file by hand"), (404, "status 404, expected the")],
)
def test_no_second_try_where_none_helps(server, get, waits, status, sentence):
    server.behaviours = [lambda request: server.answer(request, status, PAGE)]
    with pytest.raises(InputError, match=sentence):
        get()
    assert waits == []


def test_a_server_that_is_not_there(tmp_path, waits):
    with pytest.raises(InputError, match="no success in 6 tries .* 0 bytes"):
        fetch("http://127.0.0.1:9/a.zip", tmp_path / "a.zip.part", None, waits.append)
    assert len(waits) == transfer.TRIES - 1


MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()


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
    (tmp_path / "to/a.zip").write_bytes(CONTENT)
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
        config={"offline": False},
    )
    rule.main(snakemake)
    written = json.loads((tmp_path / "to/retrieved.json").read_text())
    assert written["cohort"] == "mine" and written["files"][0]["sha256"] == SHA256
