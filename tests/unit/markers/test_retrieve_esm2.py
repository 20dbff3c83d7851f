import pytest

from workflow_scripts.common.errors import InputError
from workflow_scripts.markers.retrieve_esm2 import main, retrieve

# What a transfer goes through is tested with workflow_scripts/common/transfer.py.
BODY = b"PK" + bytes(range(256)) * 400


def get(server, tmp_path):
    retrieve(f"{server.url}/m.pt", tmp_path / "esm2/m.pt", sleep=lambda seconds: None)
    return tmp_path / "esm2/m.pt"


def test_whole_file_at_once(server, tmp_path):
    server.answers = {"/m.pt": [(200, {}, BODY)]}
    path = get(server, tmp_path)
    assert path.read_bytes() == BODY
    assert [file.name for file in path.parent.iterdir()] == ["m.pt"]


def test_cut_transfer_is_resumed(server, tmp_path):
    cut = 4 * len(BODY) // 10
    first = 200, {"Content-Length": str(len(BODY)), "ETag": '"v1"'}, BODY[:cut]
    span = f"bytes {cut}-{len(BODY) - 1}/{len(BODY)}"
    rest = 206, {"Content-Range": span, "ETag": '"v1"'}, BODY[cut:]
    server.answers = {"/m.pt": [first, rest]}
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.requests["/m.pt"][1]["Range"] == f"bytes={cut}-"


def test_missing_file(server, tmp_path):
    with pytest.raises(InputError, match=r"m\.pt.*404"):
        get(server, tmp_path)


def test_what_is_no_checkpoint(server, tmp_path):
    server.answers = {"/m.pt": [(200, {}, b"no weights at all")]}
    with pytest.raises(InputError, match="begins with b'no weights at all'; expected a checkpoint"):
        get(server, tmp_path)
    assert not list((tmp_path / "esm2").glob("*.pt"))


def test_offline(job):
    with pytest.raises(InputError, match=r"offline: a/m\.pt is missing; .* https://x/m\.pt holds"):
        main(job({}, {"weights": "a/m.pt"}, url="https://x/m.pt", config={"offline": True}))
