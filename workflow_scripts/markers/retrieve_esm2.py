"""Download the ESM-2 checkpoint, going on where a cut transfer stopped."""

import os
import re
import time
from pathlib import Path

import requests

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.provenance import sha256

USER_AGENT = "virtues-study/0.1 (python-requests)"
TRIES = 6  # in a row without a new byte
PIECE = 1 << 16  # bytes; a cut transfer loses the piece it was in
CHECKPOINT = (b"PK", b"\x80\x02")  # torch's zip files, and its files before 2020


def retrieve(url, path, sleep=time.sleep):
    """Download `url` to `path`, which appears only when all of its bytes are there.

    Beside it, `.<name>.part` holds what was received and `.<name>.version` the server's name for
    that version; a later call goes on from there.
    """
    path = Path(path)
    part, version = (path.with_name(f".{path.name}.{kind}") for kind in ("part", "version"))
    path.parent.mkdir(parents=True, exist_ok=True)
    failures, received = 0, 0
    while True:
        try:
            reason = _receive(url, part, version)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            reason = str(error)
        if reason is None:
            break
        grown = part.stat().st_size if part.exists() else 0
        failures = 1 if grown > received else failures + 1
        received = grown
        if failures == TRIES:
            raise InputError(
                f"{url}: no new byte in {TRIES} tries ({reason}); expected a checkpoint; run "
                f"again later, the {received} bytes received are kept"
            )
        log.warning("%s: %s; trying again from byte %d", url, reason, received)
        sleep(2.0**failures)
    _check_kind(url, part)
    os.replace(part, path)
    version.unlink(missing_ok=True)
    log.info("%s: %d bytes, sha256 %s", path, path.stat().st_size, sha256(path))


def _receive(url, part, version):
    """Receive once; return None when everything is there, else why not."""
    start = part.stat().st_size if part.exists() and version.exists() else 0
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if start:
        # The server sends the whole file when it has another version of it by now.
        headers |= {"Range": f"bytes={start}-", "If-Range": version.read_text()}
    with requests.get(url, headers=headers, stream=True, timeout=(30, 120)) as answer:
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            return f"status {answer.status_code}"
        if answer.status_code == 416:
            part.unlink()
            return "the server has fewer bytes than were received"
        if not answer.ok:
            raise InputError(
                f"{url}: status {answer.status_code}; expected a checkpoint; "
                "correct `markers.esm2.weights`"
            )
        if answer.status_code == 206:
            first, size = _range(answer)
            if first != start:
                part.unlink()
                return f"the server sent bytes from {first} on, not from {start}"
        else:
            start, size = 0, answer.headers.get("Content-Length")
            name = answer.headers.get("ETag", "")
            # A weak name, or none, does not promise equal bytes: nothing to go on from.
            if name.startswith('"'):
                version.write_text(name)
            else:
                version.unlink(missing_ok=True)
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            for piece in answer.iter_content(PIECE):
                file.write(piece)
    received = part.stat().st_size
    if size is not None and received != int(size):
        return f"{received} of {size} bytes"
    return None


def _range(answer):
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    return (int(match[1]), int(match[2])) if match else (-1, None)


def _check_kind(url, part):
    with open(part, "rb") as file:
        head = file.read(40)
    if not head.startswith(CHECKPOINT):
        part.unlink()
        raise InputError(
            f"{url}: the file begins with {head!r}; expected a checkpoint of torch; "
            "correct `markers.esm2.weights`"
        )


def main(snakemake):
    """Download the checkpoint of `markers.esm2.weights`."""
    url, path = snakemake.params.url, snakemake.output.weights
    if snakemake.params.offline:
        raise InputError(
            f"offline: {path} is missing; expected the file that {url} holds; download it "
            "elsewhere and put it there, or name its path in `markers.esm2.weights`"
        )
    retrieve(url, path)


if __name__ == "__main__":
    run(main, globals())
