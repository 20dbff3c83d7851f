"""One file over https, http or file://, resumed where a cut transfer stopped."""

import errno
import json
import random
import re
import shutil
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin

import requests
import urllib3

from workflow_scripts.common.access import (
    authorization,
    check_address,
    check_named,
    redact,
    variables,
)
from workflow_scripts.common.cohort import local_path
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log

# Archives behind Cloudflare answer 403 to the default name of a Python client.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) virtues-study"
TRIES = 6  # in a row without a new byte
BUSY = {408, 425, 429, 500, 502, 503, 504}
LONGEST_WAIT = 300  # s, whatever Retry-After says
TIMEOUT = (30, 120)  # s to connect, and without a byte
PIECE = 1 << 20
_CUT = (requests.RequestException, urllib3.exceptions.HTTPError)


class _Again(Exception):
    """The transfer has to be tried again, after `wait` seconds if the server said so."""

    def __init__(self, reason, wait=None):
        super().__init__(reason)
        self.wait = wait


class Session(requests.Session):
    """A session whose redirects stay on https, and that has no credentials of its own."""

    def __init__(self):
        super().__init__()
        self.headers["User-Agent"] = USER_AGENT
        self.auth = lambda request: request  # else requests would take one from ~/.netrc

    def get_redirect_target(self, answer):
        """Return where an answer leads to, or None; InputError where it may not lead."""
        target = super().get_redirect_target(answer)
        if target:  # may be a signed address, which is asked and never written down
            check_named(urljoin(answer.url, target), answer.url)
        return target

    def rebuild_auth(self, request, answer):
        """Drop credentials where another host is asked; requests would look into ~/.netrc, too."""
        if self.should_strip_auth(answer.request.url, request.url):
            request.headers.pop("Authorization", None)


def fetch(url, part, size=None, sleep=time.sleep, received=lambda count: None):
    """Write what `url` holds, `size` bytes if known, to the file `part`; resumes what is there.

    Beside `part` a note keeps the server's name for the version (ETag or Last-Modified): bytes are
    only appended to the same version. A server that has another one, or sends no ranges, makes the
    transfer start again. `received` is called with the number of bytes of every piece; what it
    raises ends the transfer. InputError after TRIES failures in a row without a new byte, or at
    once where trying again is of no use: no access, no such file, a page in the place of the file,
    a full disk.
    """
    if local_path(url):
        _copy(local_path(url), part)
        return

    def once():
        try:
            _receive(url, part, received)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise full(part, error) from None
        if size is not None and part.stat().st_size < size:
            raise _Again(f"cut at {part.stat().st_size} of {size} bytes")

    _insist(once, url, sleep, lambda: part.stat().st_size if part.exists() else 0)
    _forget(part, note_only=True)


def full(path, error):
    """Return the InputError for a disk that became full while `path` was written."""
    return InputError(
        f"{path}: no room left on the disk ({error.strerror}); make room in {path.parent} and run "
        "again, what was received is kept."
    )


def get_text(url, sleep=time.sleep, body=None):
    """Return the text at a web address, trying again while the server is busy.

    `body`: sent as JSON, by POST, where it is given.
    """

    def once():
        with _request(url, {}, json=body) as answer:
            _check_status(answer, url)
            return answer.text

    return _insist(once, url, sleep, lambda: 0)


def _request(url, headers, **options):
    check_address(url)
    method = "GET" if options.get("json") is None else "POST"
    with Session() as session:
        headers = {**headers, **authorization(url)}
        return session.request(method, url, headers=headers, timeout=TIMEOUT, **options)


def _insist(once, url, sleep, received):
    """Call `once` until it succeeds; `received` gives the bytes so far, any new one is progress."""
    failures, before = 0, received()
    while True:
        try:
            return once()
        except (_Again, *_CUT) as error:
            failures = 1 if received() > before else failures + 1
            before = received()
            said = redact(str(error))
            if failures >= TRIES:
                raise InputError(
                    f"{url}: no success in {TRIES} tries ({said}); run again later, the {before} "
                    "bytes received so far are kept."
                ) from None
            wait = getattr(error, "wait", None)
            if wait is None:  # apart from others that the same fault has stopped
                wait = 2.0**failures * random.uniform(0.5, 1.0)
            wait = min(wait, LONGEST_WAIT)
            log.warning("%s: %s; again in %.0f s from byte %d", url, said, wait, before)
            sleep(wait)


def _receive(url, part, received):
    """Receive once: the rest of `part` if the server has the same version, else all of it."""
    start, version = _resumable(url, part)
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    with _request(url, headers, stream=True) as answer:
        if answer.status_code == 416:
            _forget(part)
            raise _Again("the server has fewer bytes than were received")
        _check_status(answer, url)
        resumed = answer.status_code == 206
        if resumed and not _continues(answer, start, version):
            _forget(part)
            raise _Again("the server has another version of the file now")
        first = answer.raw.read1(PIECE)
        if not resumed:
            _refuse_page(first, url, part)  # before what was received is given up
            _remember(url, part, answer)
        _refuse_too_large(answer, part, resumed)
        with open(part, "ab" if resumed else "wb") as file:
            piece = first
            while piece:
                file.write(piece)
                received(len(piece))
                # Unlike iter_content, read1 gives every byte that came before a cut.
                piece = answer.raw.read1(PIECE)


def _refuse_too_large(answer, part, resumed):
    """Refuse what does not fit on the disk before it is written."""
    length = int(answer.headers.get("Content-Length") or 0)
    given_up = part.stat().st_size if part.exists() and not resumed else 0
    free = shutil.disk_usage(part.parent).free + given_up
    if length > free:
        raise InputError(
            f"{part}: {length} bytes are to come and {free} are free in {part.parent}; make room "
            "there and run again."
        )


def _check_status(answer, url):
    status = answer.status_code
    if status in BUSY:
        raise _Again(f"status {status}", _retry_after(answer.headers.get("Retry-After")))
    if status in (401, 403):
        names = " and ".join(variables(url))
        token = f"set {names} to credentials that have access, or " if names else ""
        raise InputError(
            f"{url}: access refused (status {status}); {token}get the file by hand, with a login "
            "where the archive asks for one, and put it into the cohort's folder of archives."
        )
    if not answer.ok:
        raise InputError(
            f"{url}: status {status}, expected the file; check its address in the cohort file."
        )


def _retry_after(text):
    """Return the seconds of a Retry-After header (a number or a date), or None."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _refuse_page(start, url, part):
    """Refuse a web page or an error message that came with status 200 in the place of the file."""
    expected = part.name.removesuffix(".part").rpartition(".")[2].lower()
    text = start[:400].lstrip().lower()
    kind = "JSON" if text.startswith((b"{", b"[")) else None
    if text.startswith((b"<!doctype html", b"<html")):
        kind = "HTML"
    if kind and kind.lower() != expected:
        shown = redact(" ".join(start[:200].decode("utf-8", "replace").split()))
        raise InputError(
            f"{url}: got {kind}, expected {expected}: '{shown}'; open the address in a browser, "
            "and put the file by hand into the cohort's folder of archives."
        )


def _continues(answer, start, version):
    """Tell whether a 206 answer holds the bytes from `start` on of the version we have."""
    sent = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return sent is not None and int(sent[1]) == start and version in (None, *_versions(answer))


def _versions(answer):
    """Return the names of a version that If-Range may carry: a strong ETag, the date."""
    names = (answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
    return [name for name in names if name and not name.startswith("W/")]


def _note(part):
    return part.with_name(f"{part.name}.json")


def _resumable(url, part):
    """Return how many bytes of `part` can be kept, and the version they are of."""
    if not (part.exists() and _note(part).exists()):
        return 0, None
    try:
        note = json.loads(_note(part).read_text())
        same = note["url"] == redact(url)
    except (ValueError, KeyError):  # a note that was being written when the machine stopped
        return 0, None
    return (part.stat().st_size, note["version"]) if same else (0, None)


def _remember(url, part, answer):
    _forget(part, note_only=True)
    if versions := _versions(answer):
        _note(part).write_text(json.dumps({"url": redact(url), "version": versions[0]}))


def _forget(part, note_only=False):
    _note(part).unlink(missing_ok=True)
    if not note_only:
        part.unlink(missing_ok=True)


def _copy(path, part):
    if not path.is_file():
        raise InputError(f"{path}: no such file; check its address in the cohort file.")
    try:
        shutil.copyfile(path, part)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        part.unlink(missing_ok=True)
        raise full(part, error) from None
