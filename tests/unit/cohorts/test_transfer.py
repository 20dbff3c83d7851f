"""Transfers against a local server that behaves as badly as real ones do."""

import errno
import json
from email.utils import formatdate
from types import SimpleNamespace

import pytest
import requests

from tests.unit.cohorts.bad_server import CONTENT, CUT, PAGE, SIZE
from workflow_scripts.common import transfer
from workflow_scripts.common.access import check_address, check_named
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.transfer import Session, fetch, get_text


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
    assert len(waits) == 1 and 1 <= waits[0] <= 2


def test_a_transfer_goes_on_in_a_later_run(server, get, tmp_path, waits):
    server.behaviours = [server.cut, lambda request: server.answer(request, 503, b"")]
    with pytest.raises(InputError, match=f"no success in 6 tries .* the {CUT} bytes received"):
        get()
    assert (tmp_path / "a.zip.part").stat().st_size == CUT
    server.behaviours = [server.send]
    assert get() == CONTENT
    assert server.requests[-1][1]["Range"] == f"bytes={CUT}-"
    # Up to 2, 4, ... s: any new byte starts the count of failures again.
    assert len(waits) == 5
    assert all(2**n / 2 <= wait <= 2**n for n, wait in enumerate(waits, 1))


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
    [("7", 7, 7), ("999999", 300, 300), (formatdate(4e9, usegmt=True), 300, 300), ("soon", 1, 2)],
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


@pytest.mark.parametrize("at", [1, 2, 4095, CUT, SIZE - 1])
def test_it_may_be_cut_at_any_byte(server, get, at):
    server.behaviours = [lambda request: server.send(request, until=at), server.send]
    assert get() == CONTENT
    assert server.requests[1][1]["Range"] == f"bytes={at}-"


def test_a_server_that_stalls_is_asked_again(server, get, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT", (1, 0.2))
    server.behaviours = [server.stall, server.send]
    assert get() == CONTENT
    assert server.requests[1][1]["Range"] == f"bytes={CUT}-"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, get, waits, status):
    server.behaviours = [lambda request: server.answer(request, status, PAGE), server.send]
    assert get() == CONTENT and len(waits) == 1


def test_a_full_disk_is_told_and_what_came_is_kept(server, get, tmp_path, monkeypatch):
    def write_to_a_full_disk(count):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="a.zip.part: no room left on the disk .*; make room in"):
        fetch(f"{server.url}/a.zip", tmp_path / "a.zip.part", SIZE, None, write_to_a_full_disk)
    assert CONTENT.startswith((tmp_path / "a.zip.part").read_bytes())
    assert get() == CONTENT
    assert "Range" in server.requests[1][1]


def test_what_does_not_fit_on_the_disk_is_not_begun(server, get, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=SIZE - 1)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(InputError, match="100000 bytes are to come and 99999 are free in"):
        get()
    assert not (tmp_path / "a.zip.part").exists()


@pytest.mark.parametrize("target", ["http://example.org/a.zip", "ftp://example.org/a.zip"])
def test_a_redirect_away_from_https_is_refused(server, get, target):
    server.behaviours = [server.redirect(target)]
    with pytest.raises(InputError, match="expected an https or file:// address"):
        get()


ELSEWHERE, SERVER, FILE = "https://zenodo.org/r", "http://127.0.0.1:80/r", "file:///etc/hostname"


@pytest.mark.parametrize(
    ("by", "url"),
    [
        (ELSEWHERE, FILE),
        (ELSEWHERE, "FILE:/etc/hostname"),
        (ELSEWHERE, SERVER),
        (ELSEWHERE, "https://localhost/r"),
        (SERVER, FILE),
    ],
)
def test_no_answer_leads_closer_than_where_it_comes_from(by, url):
    sentence = f"{by}: its answer names {url}, which is on this machine; expected an https"
    with pytest.raises(InputError, match=sentence):
        check_named(url, by)
    answer = requests.Response()
    answer.status_code, answer.url, answer.headers["Location"] = 302, by, url
    with pytest.raises(InputError, match=sentence):
        Session().get_redirect_target(answer)


@pytest.mark.parametrize(
    ("by", "url"),
    [(FILE, FILE), (FILE, SERVER), (FILE, ELSEWHERE), (SERVER, SERVER), (ELSEWHERE, ELSEWHERE)],
)
def test_an_answer_may_lead_as_far_as_it_likes(by, url):
    assert check_named(url, by) == url


def test_a_redirect_to_a_file_is_refused_at_once(server, get, tmp_path, waits):
    server.behaviours = [server.redirect("file:///etc/hostname")]
    with pytest.raises(InputError, match="its answer names file:///etc/hostname, which is on this"):
        get()
    assert waits == [] and not list(tmp_path.iterdir())


def test_a_file_with_logins_for_other_programs_is_not_read(server, get, tmp_path, monkeypatch):
    logins = tmp_path.parent / f"{tmp_path.name}.netrc"
    logins.write_text("default login me password secret")
    monkeypatch.setenv("NETRC", str(logins))
    other = server.url.replace("127.0.0.1", "localhost")
    server.behaviours = [server.redirect(f"{other}/a.zip"), server.send]
    assert get() == CONTENT
    assert len(server.requests) == 2
    assert not any("Authorization" in headers for _, headers in server.requests)


def test_a_text_that_is_cut_is_asked_for_again(server, waits):
    cut = lambda request: server.answer(request, 200, b'{"files":', length=20)  # noqa: E731
    server.behaviours = [cut, lambda request: server.answer(request, 200, b'{"files": []}')]
    assert get_text(server.url, waits.append) == '{"files": []}' and len(waits) == 1


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://example.org/a", "expected an https or file:// address"),
        ("ftp://example.org/a", "expected an https or file:// address"),
        ("https://me:secret@example.org/a", "the address of example.org holds a name, password"),
        ("https://zenodo.org/a?token=secret", "holds a name, password or token; .*ZENODO_TOKEN"),
    ],
)
def test_only_https_and_no_secrets_in_addresses(url, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        check_address(url)
    assert "secret" not in str(error.value)
