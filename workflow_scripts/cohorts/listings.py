"""Archives without a record of their files: a Synapse project, a folder of an S3 bucket.

Both are written in the form of a Zenodo record. Their answers follow the public documentation and
were not yet seen.
"""

import re
import xml.etree.ElementTree as ElementTree
from fnmatch import fnmatchcase
from urllib.parse import parse_qs, quote, urlsplit

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.validation import parse_json, unexpected

SYNAPSE = re.compile(r"(https?://[^/]+)/repo/v1/entity/(syn\d+)")
S3 = re.compile(r"https?://[^/?]+/[^/?]+\?prefix=[^&]+/")


def list_synapse(url, wanted, get):
    """Return the files below a Synapse entity; size and md5 only of those that `wanted` names.

    `get(address, body=None)` fetches text. A project holds thousands of files, and the checksum of
    each takes a request.
    """
    base, root = SYNAPSE.fullmatch(url).groups()
    files, folders = [], [(root, "")]
    while folders:
        parent, path = folders.pop(0)
        for child in _children(f"{base}/repo/v1/entity/children", parent, get):
            name = f"{path}{child['name']}"
            if child["type"].endswith(".Folder"):
                folders.append((child["id"], f"{name}/"))
            elif child["type"].endswith(".FileEntity"):
                # It answers with a redirect to a signed address, which is never written down.
                address = f"{base}/repo/v1/entity/{child['id']}/file"
                files.append({"key": name, "links": {"self": address}})
    for file in files:
        if any(fits(file["key"], name) for name in wanted):
            handles = file["links"]["self"] + "handles"
            file |= _content(_listed(get(handles), handles, "list")["list"], handles)
    return {"files": files}


def list_s3(url, _wanted, get):
    """Return the objects of a bucket whose key begins with `prefix`, named relative to it."""
    parts = urlsplit(url)
    bucket, prefix = url.partition("?")[0], parse_qs(parts.query)["prefix"][0]
    files, marker = [], ""
    while marker is not None:
        page = f"{bucket}?prefix={quote(prefix)}&marker={quote(marker)}"
        found, marker = _page(get(page), page)
        for key, size, tag in found:
            if key.startswith(prefix) and not key.endswith("/"):
                file = {"key": key.removeprefix(prefix), "size": size}
                file["links"] = {"self": f"{bucket}/{quote(key)}"}
                # The tag of an object that came in several parts is no md5.
                if re.fullmatch(r"[0-9a-f]{32}", tag):
                    file["checksum"] = f"md5:{tag}"
                files.append(file)
    return {"files": files}


def fits(key, name):
    """Tell whether a file of an archive is what `name` means: a glob, or the end of a path."""
    return fnmatchcase(key, name) if "*" in name else key == name or key.endswith(f"/{name}")


def _children(address, parent, get):
    token = None
    while True:
        body = {"parentId": parent, "includeTypes": ["folder", "file"], "nextPageToken": token}
        answer = _listed(get(address, body=body), address, "page")
        yield from answer["page"]
        token = answer.get("nextPageToken")
        if not token:
            return


def _content(handles, where):
    content = [handle for handle in handles if not handle.get("isPreview")]
    if len(content) != 1:
        raise InputError(f"{where}: {len(content)} files, expected one; take it by hand.")
    [handle] = content
    return {"size": handle["contentSize"], "checksum": f"md5:{handle['contentMd5']}"}


def _listed(text, where, key):
    def fits(answer):
        return isinstance(answer, dict) and isinstance(answer.get(key), list)

    return parse_json(text, where, "a list of files of Synapse", fits)


def _page(text, where):
    """Return [(key, size, tag)] of a page of a listing, and the marker of the next or None."""
    try:
        if "<!DOCTYPE" in text.upper():
            raise ValueError
        root = ElementTree.fromstring(text)
        space = root.tag.removesuffix("ListBucketResult")
        if space == root.tag:
            raise ValueError
        found = [
            (item.findtext(f"{space}Key"), int(item.findtext(f"{space}Size")),
             (item.findtext(f"{space}ETag") or "").strip('"'))
            for item in root.iter(f"{space}Contents")
        ]  # fmt: skip
    except (ElementTree.ParseError, ValueError, TypeError):
        raise unexpected(text, where, "the listing of an S3 bucket") from None
    more = found and root.findtext(f"{space}IsTruncated") == "true"
    return found, (root.findtext(f"{space}NextMarker") or found[-1][0]) if more else None
