import hashlib
import json

import pytest

from workflow_scripts.commands.verify_data import faults, recorded_files
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.retrieved_weights import retrieve_checkpoint
from workflow_scripts.markers.retrieve_esm2 import main

# What a transfer goes through is tested with workflow_scripts/common/transfer.py.
BODY = b"PK" + bytes(range(256)) * 400
SHA256 = hashlib.sha256(BODY).hexdigest()


def get(server, tmp_path, expected=None):
    path = tmp_path / "esm2/m.pt"
    retrieve_checkpoint(f"{server.url}/m.pt", path, expected, "markers.esm2", lambda seconds: None)
    return path


@pytest.mark.parametrize("expected", [None, SHA256[:8], SHA256])
def test_whole_file_at_once_and_its_record(server, tmp_path, expected):
    server.answers = {"/m.pt": [(200, {}, BODY)]}
    path = get(server, tmp_path, expected)
    assert path.read_bytes() == BODY
    assert sorted(file.name for file in path.parent.iterdir()) == ["m.pt", "retrieved.json"]
    [file] = json.loads((path.parent / "retrieved.json").read_text())["files"]
    assert file == {
        "name": "m.pt",
        "url": f"{server.url}/m.pt",
        "size": len(BODY),
        "sha256": SHA256,
        "checked_against": {"sha256": "settings"} if expected else {},
    }
    assert faults(recorded_files(tmp_path)) == []
    path.write_bytes(BODY[::-1])
    [sentence] = faults(recorded_files(tmp_path))
    assert f"m.pt: its SHA-256 is {hashlib.sha256(BODY[::-1]).hexdigest()}, expected" in sentence


def test_another_checksum_than_the_settings_name(server, tmp_path, job):
    server.answers = {"/m.pt": [(200, {}, BODY)]}
    config = {"offline": False, "markers": {"esm2": {"sha256": "0" * 64}}}
    output = {"weights": tmp_path / "esm2/m.pt"}
    sentence = f"SHA-256 is {SHA256}, expected {'0' * 64} .*, or correct markers.esm2.sha256"
    with pytest.raises(InputError, match=sentence):
        main(job({}, output, url=f"{server.url}/m.pt", config=config))
    assert not list((tmp_path / "esm2").iterdir())


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
