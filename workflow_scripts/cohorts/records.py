"""What an archive's API says about its files: address, size and checksum, never invented."""

import json
import os
import re
from pathlib import Path

from workflow_scripts.common.cohort import FROM_RECORD, local_path
from workflow_scripts.common.errors import InputError

CHECKS = ("size", "md5", "sha256")


def describe_files(cohort, folder, get, offline=False):
    """Return the cohort's files as dicts of name, url, size, md5, sha256 and checked_against.

    `get` fetches an https address as text. What the YAML file says wins; `from_record` and a
    missing address are looked up in the record. Its answer is kept in `folder`, and used from
    there when `offline`.
    """
    described, records = [], {}
    for file in cohort.files:
        record = file.get("record", cohort.source.get("record"))
        asked = [key for key in CHECKS if file.get(key) == FROM_RECORD]
        answer = {}
        url = cohort.url(record) if record else None
        # Who has the file already, or is offline, needs no address from the record.
        placed = "url" in file or (Path(folder) / file["name"]).exists()
        if record and (asked or not (placed or (offline and not local_path(url)))):
            if url not in records:
                records[url] = read_record(url, folder, get, offline)
            answer = _entry(records[url], file["name"], url)
        for key in asked:
            if key not in answer:
                raise InputError(
                    f"{cohort.path}: {file['name']}: the record {record} gives no {key}, only "
                    f"{', '.join(sorted(answer))}; ask for one of these."
                )
        values = {key: answer[key] if key in asked else file.get(key) for key in CHECKS}
        origins = {key: "record" if key in asked else "cohort file" for key in CHECKS}
        described.append(
            {
                "name": file["name"],
                "url": cohort.url(file["url"]) if "url" in file else answer.get("url"),
                **values,
                "checked_against": {key: origins[key] for key in CHECKS if values[key] is not None},
            }
        )
    return described


def read_record(url, folder, get, offline):
    """Return {file name: url, size, md5, sha256} of a Zenodo record or a Mendeley file listing."""
    kept = Path(folder) / f"{re.sub(r'[^A-Za-z0-9]+', '_', url)}.json"
    if local_path(url):
        return parse_record(_load(_text(local_path(url)), url), url)
    if offline:
        if not kept.exists():
            raise InputError(
                f"offline: the answer of {url} is needed to check its files; put it at {kept}, "
                "or write sizes and checksums into the cohort file."
            )
        return parse_record(_load(kept.read_text(), kept), kept)
    answer = _load(get(url), url)
    if isinstance(answer, list):
        answer += _files_in_folders(url, get)
    files = parse_record(answer, url)
    part = kept.with_name(f".{kept.name}.part")
    part.write_text(json.dumps(answer))
    os.replace(part, kept)
    return files


def parse_record(answer, where):
    """Return {file name: url, size, md5 or sha256} from an answer of Zenodo or Mendeley Data."""
    try:
        if isinstance(answer, list):
            return {item["filename"]: _mendeley(item) for item in answer}
        return {item["key"]: _zenodo(item) for item in answer["files"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{where}: expected the file list of a Zenodo record or of Mendeley Data ({error!r} is "
            "missing or of another kind); check the address of the record."
        ) from None


def _zenodo(item):
    kind, _, digest = item["checksum"].rpartition(":")
    # links.self has meant different things over the years, and is to be used as it is.
    return {"url": item["links"]["self"], "size": int(item["size"]), kind or "md5": digest}


def _mendeley(item):
    details = item["content_details"]
    size = int(details.get("size", item["size"]))
    return {"url": details["download_url"], "size": size, "sha256": details["sha256_hash"]}


def _files_in_folders(url, get):
    """Return the files of a Mendeley dataset that lie in folders, which its root listing omits."""
    match = re.fullmatch(r"(.*/datasets/[^/]+)/files\?folder_id=root&version=(\d+)", url)
    if not match:
        return []
    base, version = match.groups()
    folders = _load(get(f"{base}/folders/{version}"), url)
    listings = (f"{base}/files?folder_id={item['id']}&version={version}" for item in folders)
    return [file for listing in listings for file in _load(get(listing), listing)]


def _entry(files, name, url):
    if name not in files:
        raise InputError(
            f"{url}: the record has no file '{name}'; it has: {', '.join(sorted(files)) or 'none'}."
        )
    return files[name]


def _text(path):
    if not path.exists():
        raise InputError(f"{path}: no such record; check source.record of the cohort file.")
    return path.read_text()


def _load(text, where):
    try:
        return json.loads(text)
    except ValueError:
        start = " ".join(text.split())[:80]
        raise InputError(f"{where}: expected JSON, the answer begins '{start}'.") from None
