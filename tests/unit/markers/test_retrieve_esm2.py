import pytest

from workflow_scripts.common.errors import InputError
from workflow_scripts.markers.retrieve_esm2 import PIECE, main, retrieve

BODY = (b"PK" + bytes(range(256)) * 4000)[: 15 * PIECE]
CUT = 6 * PIECE  # 40 %


def get(server, tmp_path, name="m.pt"):
    retrieve(f"{server.url}/{name}", tmp_path / "esm2" / name, sleep=lambda seconds: None)
    return tmp_path / "esm2" / name


def cut_answer(**headers):
    return 200, {"Content-Length": str(len(BODY)), **headers}, BODY[:CUT]


def rest_answer(body=BODY, start=CUT):
    span = f"bytes {start}-{len(body) - 1}/{len(body)}"
    return 206, {"Content-Range": span, "ETag": '"v1"'}, body[start:]


def test_whole_file_at_once(server, tmp_path):
    server.answers = {"/m.pt": [(200, {}, BODY)]}
    path = get(server, tmp_path)
    assert path.read_bytes() == BODY
    assert [file.name for file in path.parent.iterdir()] == ["m.pt"]


def test_cut_transfer_is_resumed(server, tmp_path):
    server.answers = {"/m.pt": [cut_answer(ETag='"v1"'), rest_answer()]}
    assert get(server, tmp_path).read_bytes() == BODY
    second = server.requests["/m.pt"][1]
    assert (second["Range"], second["If-Range"]) == (f"bytes={CUT}-", '"v1"')


def test_later_run_goes_on(server, tmp_path):
    server.answers = {"/m.pt": [cut_answer(ETag='"v1"'), (503, {}, b"")]}
    with pytest.raises(InputError, match=rf"status 503\); .* the {CUT} bytes received are kept"):
        get(server, tmp_path)
    assert not (tmp_path / "esm2" / "m.pt").exists()
    server.answers = {"/m.pt": [rest_answer()]}
    assert get(server, tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"v1"'}, {"ETag": '"v1"'}])
def test_server_that_ignores_ranges_or_has_a_new_version(server, tmp_path, headers):
    other = b"PK other"
    server.answers = {"/m.pt": [cut_answer(**headers), (200, {"ETag": '"v2"'}, other)]}
    assert get(server, tmp_path).read_bytes() == other
    assert ("Range" in server.requests["/m.pt"][1]) == (headers.get("ETag") == '"v1"')


def test_server_with_fewer_bytes_or_another_range(server, tmp_path):
    first = cut_answer(ETag='"v1"')
    server.answers = {"/m.pt": [first, (416, {}, b""), (200, {}, BODY)]}
    assert get(server, tmp_path).read_bytes() == BODY
    server.answers = {"/n.pt": [first, rest_answer(start=CUT + 5), (200, {}, BODY)]}
    assert get(server, tmp_path, "n.pt").read_bytes() == BODY


def test_missing_file(server, tmp_path):
    with pytest.raises(InputError, match=r"m\.pt: status 404; .* `markers\.esm2\.weights`"):
        get(server, tmp_path)


def test_error_page_with_status_200(server, tmp_path):
    server.answers = {"/m.pt": [(200, {}, b"<html>sorry</html>")]}
    with pytest.raises(InputError, match=r"begins with b'<html>sorry</html>'; expected a check"):
        get(server, tmp_path)
    assert [file.name for file in (tmp_path / "esm2").iterdir() if "part" in file.name] == []


def test_no_server(tmp_path):
    with pytest.raises(InputError, match=r"no new byte in 6 tries .* the 0 bytes received"):
        retrieve("http://127.0.0.1:1/m.pt", tmp_path / "m.pt", sleep=lambda seconds: None)


def test_offline(job):
    with pytest.raises(InputError, match=r"offline: a/m\.pt is missing; .* https://x/m\.pt holds"):
        main(job({}, {"weights": "a/m.pt"}, url="https://x/m.pt", offline=True))
