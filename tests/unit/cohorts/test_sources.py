"""Archives that need credentials or have no record: nothing secret is written, all is checked."""

import base64
import json
import logging
import threading
from types import SimpleNamespace

import pytest

from tests.unit.cohorts.bad_server import CONTENT, CUT, MD5, PAGE, SHA256, SIZE
from workflow_scripts.cohorts import retrieve as rule
from workflow_scripts.cohorts.retrieve import retrieve
from workflow_scripts.common import retrieval
from workflow_scripts.common.access import HOSTS, authorization, redact
from workflow_scripts.common.cohort import absent_reason
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.retrieval import Progress, retrieve_files
from workflow_scripts.pretrain.retrieve_published import retrieve as retrieve_published

TOKEN = "s3cret-t0ken"
ASKED = {"name": "a.zip", "size": "from_record", "md5": "from_record"}


@pytest.fixture
def login(server, monkeypatch):
    """Let the server be one whose token, or name and password, the environment holds."""

    def set_variables(*names):
        monkeypatch.setitem(HOSTS, server.url.removeprefix("http://"), names)
        for name in names:
            monkeypatch.setenv(name, f"{TOKEN}\n")

    return set_variables


def private(server, body, **headers):
    """Answer with `body` who brings the token, with 403 and an echo of the request others."""

    def answer(request):
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            server.answer(request, 403, str(request.headers).encode())
        else:
            server.answer(request, 200, body, **headers)

    return answer


def nothing_secret(folder, text=""):
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert TOKEN not in text and not any(TOKEN.encode() in content for content in files)


def restricted(server, cohort, access="request"):
    link = {"self": f"{server.url}/a.zip"}
    item = {"key": "a.zip", "size": SIZE, "checksum": f"md5:{MD5}", "links": link}
    # A record may echo what it was asked with.
    record = json.dumps({"files": [item], "asked_with": TOKEN}).encode()
    server.texts["/api/records/7"] = private(server, record)
    server.texts["/a.zip"] = private(server, CONTENT)
    record = f"{server.url}/api/records/7"
    return cohort(access=access, source={"record": record, "files": [ASKED]})


def test_a_restricted_record_comes_with_a_token(server, cohort, login, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    mine, folder = restricted(server, cohort), tmp_path / "to"
    assert "put a.zip into" in absent_reason(mine, folder)
    login("ZENODO_TOKEN")
    assert absent_reason(mine, folder) is None
    snakemake = SimpleNamespace(
        input=SimpleNamespace(cohort=str(mine.path)),
        output=SimpleNamespace(retrieved=str(folder / "retrieved.json")),
        config={"offline": False, "connections": 2},
    )
    rule.main(snakemake)
    assert (folder / "a.zip").read_bytes() == CONTENT
    written = json.loads((folder / "retrieved.json").read_text())
    assert written["files"][0]["checked_against"] == {"size": "record", "md5": "record"}
    nothing_secret(tmp_path, caplog.text)


def test_without_a_token_it_is_left_out_and_says_which_one(server, cohort, login, monkeypatch):
    mine = restricted(server, cohort)
    login("ZENODO_TOKEN")
    monkeypatch.delenv("ZENODO_TOKEN")
    reason = absent_reason(mine, mine.path.parent)
    assert f"{server.url}/api/records/7); set ZENODO_TOKEN, or put a.zip into" in reason
    with pytest.raises(InputError, match="set ZENODO_TOKEN, or put a.zip"):
        retrieve(mine, mine.path.parent / "to")
    assert server.requests == []


def test_a_token_without_access_is_told_and_not_shown(server, cohort, login, tmp_path):
    mine = restricted(server, cohort)
    login("ZENODO_TOKEN")
    server.texts["/api/records/7"] = lambda request: server.answer(request, 403, b"")
    with pytest.raises(InputError, match="access refused .* set ZENODO_TOKEN to cred") as error:
        retrieve(mine, tmp_path / "to")
    nothing_secret(tmp_path, str(error.value))


def test_a_page_that_echoes_the_token_is_not_shown(server, cohort, login, tmp_path):
    mine = restricted(server, cohort)
    login("ZENODO_TOKEN")
    page = PAGE.replace(b"Please", TOKEN.encode())
    server.texts["/a.zip"] = private(server, page)
    with pytest.raises(InputError, match=r"got HTML, expected zip: .*\*\*\*") as error:
        retrieve(mine, tmp_path / "to")
    nothing_secret(tmp_path, str(error.value))


def test_a_token_goes_to_no_other_host(server, cohort, login, monkeypatch, tmp_path):
    mine = restricted(server, cohort)
    login("ZENODO_TOKEN")
    other = server.url.replace("127.0.0.1", "localhost")
    server.texts["/a.zip"] = server.redirect(f"{other}/signed?X-Amz-Signature={TOKEN}x")
    server.behaviours = [server.cut, server.send]
    retrieve(mine, tmp_path / "to", sleep=lambda seconds: None)
    signed = [headers for path, headers in server.requests if path.startswith("/signed")]
    assert len(signed) == 2 and not any("Authorization" in headers for headers in signed)
    assert signed[1]["Range"] == f"bytes={CUT}-", "the address is signed anew, the file goes on"
    nothing_secret(tmp_path)


def test_signed_addresses_and_passwords_are_made_unreadable(monkeypatch):
    monkeypatch.setenv("SPORA_USER", "lab")
    monkeypatch.setenv("SPORA_PASSWORD", "pass/word")
    basic = base64.b64encode(b"lab:pass/word").decode()
    text = f"labels pass/word pass%2Fword {basic} /a?x=1&X-Amz-Signature=abc&y=2"
    assert redact(text) == "labels *** *** *** /a?x=1&X-Amz-Signature=***&y=2"
    assert authorization("https://datasets.epfl.ch/spora") == {"Authorization": f"Basic {basic}"}
    assert authorization("https://datasets.epfl.ch.evil.org/spora") == {}


def test_a_garbled_token_is_told_and_not_shown(monkeypatch):
    monkeypatch.setenv("ZENODO_TOKEN", "a b\nc")
    with pytest.raises(InputError, match="ZENODO_TOKEN has a space or") as error:
        authorization("https://zenodo.org/api")
    assert "a b" not in str(error.value)


def synapse(server, names):
    """Serve a project with a folder, two pages of children, and one file of each name."""

    def children(request):
        asked = json.loads(request.body)
        page = [{"name": "human", "id": "syn2", "type": "org.sagebionetworks.repo.model.Folder"}]
        if asked["parentId"] == "syn2":
            index = int(asked["nextPageToken"] or 0)
            kind = "org.sagebionetworks.repo.model.FileEntity"
            page = [{"name": names[index], "id": f"syn{index + 3}", "type": kind}]
            more = str(index + 1) if index + 1 < len(names) else None
        else:
            more = None
        answer = json.dumps({"page": page, "nextPageToken": more}).encode()
        private(server, answer)(request)

    handle = {"list": [{"contentSize": SIZE, "contentMd5": MD5}, {"isPreview": True}]}
    server.texts["/repo/v1/entity/children"] = children
    for index in range(len(names)):
        address = f"/repo/v1/entity/syn{index + 3}/file"
        server.texts[f"{address}handles"] = private(server, json.dumps(handle).encode())
        server.texts[address] = server.redirect(f"{server.url}/signed?Signature={TOKEN}")
    return f"{server.url}/repo/v1/entity/syn1"


def test_a_synapse_project_is_searched_for_the_names(server, cohort, login, tmp_path):
    record = synapse(server, ["other.bam", "a.zip"])
    login("SYNAPSE_AUTH_TOKEN")
    mine = cohort(access="login", source={"record": record, "files": [{"name": "a.zip"}]})
    answer = retrieve(mine, tmp_path / "to")
    assert (tmp_path / "to/a.zip").read_bytes() == CONTENT
    assert answer["files"][0]["checked_against"] == {"size": "record", "md5": "record"}
    assert answer["files"][0]["url"].endswith("/repo/v1/entity/syn4/file")
    assert not any("syn3/" in path for path, _ in server.requests), "only what is wanted is asked"
    nothing_secret(tmp_path, json.dumps(answer))
    mine = cohort(access="login", source={"record": record, "files": [{"name": "b.zip"}]})
    with pytest.raises(InputError, match="no file 'b.zip'; it has: human/a.zip, human/other.bam"):
        retrieve(mine, tmp_path / "to")


@pytest.mark.parametrize("text", [PAGE.decode(), "[]", '{"list": []}', '{"page": null}'])
def test_another_answer_than_a_list_of_synapse_is_told(server, cohort, login, tmp_path, text):
    server.texts["/repo/v1/entity/children"] = text.encode()
    login("SYNAPSE_AUTH_TOKEN")
    source = {"record": f"{server.url}/repo/v1/entity/syn1", "files": [{"name": "a.zip"}]}
    with pytest.raises(InputError) as error:
        retrieve(cohort(access="login", source=source), tmp_path / "to")
    told = f"children: expected a list of files of Synapse, the answer begins '{text}'."
    assert str(error.value).endswith(told)


def listing(*objects, more=False):
    rows = "".join(
        f"<Contents><Key>{key}</Key><Size>{SIZE}</Size><ETag>&quot;{tag}&quot;</ETag></Contents>"
        for key, tag in objects
    )
    space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    more = str(more).lower()
    return f"<ListBucketResult {space}><IsTruncated>{more}</IsTruncated>{rows}</ListBucketResult>"


def test_a_folder_of_spora_comes_with_its_tree(server, cohort, login, tmp_path):
    first = listing(("x/imc/a b.zarr/c/0", MD5), more=True)
    second = listing(("x/metadata/t.json", f"{MD5}-2"), ("x/tiling/no", MD5), ("x/imc/", MD5))
    server.texts["/spora?prefix=x/&marker="] = first.encode()
    server.texts["/spora?prefix=x/&marker=x/imc/a%20b.zarr/c/0"] = second.encode()
    login("SPORA_USER", "SPORA_PASSWORD")
    files = [{"name": "imc/*"}, {"name": "metadata/*"}]
    record = f"{server.url}/spora?prefix=x/"
    mine = cohort(access="login", source={"record": record, "files": files})
    answer = retrieve(mine, tmp_path / "to", connections=2)
    names = {file["name"]: file["checked_against"] for file in answer["files"]}
    assert names == {
        "imc/a b.zarr/c/0": {"size": "record", "md5": "record"},
        "metadata/t.json": {"size": "record"},  # came in parts: its tag is no checksum
    }
    assert (tmp_path / "to/imc/a b.zarr/c/0").read_bytes() == CONTENT
    assert all(headers["Authorization"].startswith("Basic ") for _, headers in server.requests)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (PAGE.decode(), "expected the listing of an S3 bucket, the answer begins '<!DOCTYPE"),
        ("<Error/>", "expected the listing of an S3 bucket"),
        (listing(("x/../../evil", MD5)), "which is no file below it"),
    ],
)
def test_faults_of_a_bucket(server, cohort, login, tmp_path, text, sentence):
    server.texts["/spora?prefix=x/&marker="] = text.encode()
    login("SPORA_USER", "SPORA_PASSWORD")
    source = {"record": f"{server.url}/spora?prefix=x/", "files": [{"name": "*"}]}
    with pytest.raises(InputError, match=sentence):
        retrieve(cohort(access="login", source=source), tmp_path / "to")
    assert not (tmp_path / "evil").exists()


COMMIT = "c" * 40
PUBLISHED = {"repository": "lab/model", "revision": "main", "file": "big/model.safetensors"}


def test_published_weights_are_checked_against_their_repository(server, tmp_path):
    lfs = {"oid": SHA256, "size": SIZE}
    tree = [{"path": "big/model.safetensors", "lfs": lfs}, {"path": "README.md", "size": 3}]
    server.texts["/api/models/lab/model/revision/main"] = json.dumps({"sha": COMMIT}).encode()
    address = f"/api/models/lab/model/tree/{COMMIT}?recursive=1"
    server.texts[address] = json.dumps(tree).encode()
    path, settings = tmp_path / "to/model.safetensors", {**PUBLISHED, "hub": server.url}
    answer = retrieve_published(settings, path)
    assert path.read_bytes() == CONTENT and answer["commit"] == COMMIT
    assert server.requests[-1][0] == f"/lab/model/resolve/{COMMIT}/big/model.safetensors"
    assert retrieve_published(settings, path, offline=True)["sha256"] == SHA256
    with pytest.raises(InputError, match="no weights called 'x'; there are: big/model.safetensors"):
        retrieve_published({**settings, "file": "x"}, path)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match="size is 99999, expected 100000 .repository."):
        retrieve_published(settings, path)


def test_another_answer_than_one_of_the_hub_is_told(server, tmp_path):
    settings = {**PUBLISHED, "hub": server.url}
    server.texts["/api/models/lab/model/revision/main"] = b"[1]"
    with pytest.raises(InputError, match=r"expected an answer of Hugging Face, .* begins '\[1\]'"):
        retrieve_published(settings, tmp_path / "to/model.safetensors")


def files(server, *names, **changes):
    known = {"size": SIZE, "md5": MD5, "checked_against": {"md5": "record"}, **changes}
    return [{"name": name, "url": f"{server.url}/{name}", **known} for name in names]


def test_several_files_come_at_a_time_and_no_more(server, tmp_path):
    together, most, lock = threading.Barrier(2, timeout=5), [0, 0], threading.Lock()

    def answer(request):
        with lock:
            most[0] += 1
            most[1] = max(most)
        together.wait()  # breaks if no second file is asked for meanwhile
        with lock:
            most[0] -= 1
        server.answer(request, 200, CONTENT)

    server.behaviours = [answer]
    retrieve_files(files(server, "a.zip", "b.zip", "c.zip", "d.zip"), tmp_path, connections=2)
    assert most[1] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip", "c.zip", "d.zip"]


def test_after_a_failure_finished_files_stay_and_parts_go_on(server, tmp_path):
    server.texts["/b.zip"] = lambda request: server.answer(request, 404, b"")
    (tmp_path / "a.zip").write_bytes(CONTENT)
    before = (tmp_path / "a.zip").stat().st_mtime_ns
    wanted = files(server, "a.zip", "b.zip", "c.zip")
    with pytest.raises(InputError, match="b.zip: status 404"):
        retrieve_files(wanted, tmp_path)
    assert (tmp_path / "a.zip").stat().st_mtime_ns == before
    assert not any(path == "/c.zip" for path, _ in server.requests)
    server.texts["/b.zip"] = CONTENT
    assert len(retrieve_files(wanted, tmp_path)) == 3


def test_what_does_not_fit_together_is_not_begun(server, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=2 * SIZE - 1)
    monkeypatch.setattr(retrieval.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(InputError, match="200000 bytes are to come and 199999 are free"):
        retrieve_files(files(server, "a.zip", "b.zip"), tmp_path)
    assert server.requests == []
    # One file less is still to come.
    (tmp_path / "a.zip").write_bytes(CONTENT)
    assert len(retrieve_files(files(server, "a.zip", "b.zip"), tmp_path)) == 2


def test_progress_is_told_in_lines(server, tmp_path, caplog, capsys, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(retrieval, "BETWEEN_LINES", 0)
    retrieve_files(files(server, "a.zip"), tmp_path)
    assert "0.00 of 0.00 GB" in caplog.text and "min left" in caplog.text
    assert "%|" not in capsys.readouterr().err, "a bar is for terminals"
    progress = Progress([{"name": "x", "size": 3 * 10**9}], tmp_path)
    progress.come, progress.start = 10**9, 0.0
    assert progress.line(100.0) == "1.00 of 3.00 GB, 10.0 MB/s, 3 min left"
