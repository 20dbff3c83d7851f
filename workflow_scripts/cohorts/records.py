"""What an archive's API says about its files: address, size and checksum, never invented."""

import json
import re
from pathlib import Path, PurePosixPath

from workflow_scripts.cohorts.listings import S3, SYNAPSE, fits, list_s3, list_synapse
from workflow_scripts.common.access import check_named, has_credentials, redact
from workflow_scripts.common.cohort import FROM_RECORD, local_path, placed
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.staging import staged
from workflow_scripts.common.validation import parse_json

CHECKS = ("size", "md5", "sha256")
SHOWN = 20  # names of a record in a message


def describe_files(cohort, folder, get, offline=False):
    """Return the cohort's files as dicts of name, url, size, md5, sha256 and checked_against.

    `get(url, body=None)` fetches an https address as text. What the YAML file says wins;
    `from_record` and a missing address are looked up in the record, and a name with a `*` stands
    for all files of the record that fit. Its answer is kept in `folder`, and used from there when
    `offline`.
    """
    described, records = [], {}

    def entries(record):
        url = cohort.url(record)
        if url not in records:
            wanted = [file["name"] for file in cohort.files if _record(cohort, file) == record]
            records[url] = read_record(url, folder, get, offline, wanted)
        return records[url]

    for file in cohort.files:
        record, name, here = _record(cohort, file), file["name"], placed(folder, file["name"])
        asked = [key for key in CHECKS if file.get(key) == FROM_RECORD]
        url = cohort.url(record) if record else None
        # Who has the file already, or is offline, needs no address from the record.
        known = "url" in file or (here and "*" not in name) or (offline and not local_path(url))
        if not _readable(cohort, url, folder, offline):
            known, asked = True, []
        use_record = record and (asked or not known)
        found = _entries(entries(record), name, url) if use_record else {}
        for one in (found or here or [name]) if "*" in name else [name]:
            answer = found.get(one, {})
            values, origins = _checks(cohort, file, one, asked, answer, here)
            described.append(
                {
                    "name": _inside(one, cohort),
                    "url": _address(cohort, file, answer, url),
                    **values,
                    "checked_against": origins,
                }
            )
    return described


def _record(cohort, file):
    return file.get("record", cohort.source.get("record"))


def _readable(cohort, url, folder, offline):
    """Tell whether the record can be asked: without credentials nobody has that of a login."""
    if cohort.access == "open" or url is None or local_path(url) or _kept(url, folder).exists():
        return True
    return has_credentials(url) and not offline


def _checks(cohort, file, name, asked, answer, here):
    """Return {size, md5, sha256} of a file, None where unknown, and who says so of each known."""
    for key in asked:
        if key not in answer:
            raise InputError(
                f"{cohort.path}: {name}: the record {_record(cohort, file)} gives no {key}, only "
                f"{', '.join(sorted(answer))}; ask for one of these."
            )
    said = {key: file.get(key) for key in CHECKS if key not in asked}
    values = {key: answer.get(key) if said.get(key) is None else said[key] for key in CHECKS}
    values = {key: None if value == FROM_RECORD else value for key, value in values.items()}
    origins = {key: "cohort file" if said.get(key) else "record" for key in CHECKS}
    return values, {key: origins[key] for key in CHECKS if values[key] is not None}


def _address(cohort, file, answer, record):
    """Return where a file is: what the cohort file says wins over the record, None if neither."""
    if "url" in file:
        return cohort.url(file["url"])
    return check_named(answer["url"], record) if "url" in answer else None


def _inside(name, cohort):
    """Return a name that a record gives, if it is that of a file below the cohort's folder."""
    if PurePosixPath(name).is_absolute() or {"..", ""} & set(name.split("/")) or "\\" in name:
        raise InputError(f"{cohort.path}: the record names '{name}', which is no file below it.")
    return name


def read_record(url, folder, get, offline, wanted=()):
    """Return {file name: url, size, md5, sha256} of a record, a listing, a project or a bucket."""
    kept = _kept(url, folder)
    if local_path(url):
        return parse_record(parse_json(_text(local_path(url)), url), url)
    if offline:
        if not kept.exists():
            raise InputError(
                f"offline: the answer of {url} is needed to check its files; put it at {kept}, "
                "or write sizes and checksums into the cohort file."
            )
        return parse_record(parse_json(kept.read_text(), kept), kept)
    if SYNAPSE.fullmatch(url):
        answer = list_synapse(url, wanted, get)
    elif S3.fullmatch(url):
        answer = list_s3(url, wanted, get)
    else:
        answer = parse_json(get(url), url)
    if isinstance(answer, list):
        answer += _files_in_folders(url, get)
    files = parse_record(answer, url)
    with staged(kept) as [part]:
        part.write_text(redact(json.dumps(answer)))
    return files


def _kept(url, folder):
    return Path(folder) / f"{re.sub(r'[^A-Za-z0-9]+', '_', url)}.json"


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
    # links.self has meant different things over the years, and is to be used as it is.
    entry = {"url": item["links"]["self"]}
    if "size" in item:
        entry["size"] = int(item["size"])
    if "checksum" in item:
        kind, _, digest = item["checksum"].rpartition(":")
        entry[kind or "md5"] = digest
    return entry


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
    folders = parse_json(get(f"{base}/folders/{version}"), url)
    listings = (f"{base}/files?folder_id={item['id']}&version={version}" for item in folders)
    return [file for listing in listings for file in parse_json(get(listing), listing)]


def _entries(files, name, url):
    """Return {name: entry} of the files that `name` means; InputError if none, or not one."""
    if name in files:
        return {name: files[name]}
    found = [key for key in files if fits(key, name)]
    if not found:
        shown = ", ".join(sorted(files)[:SHOWN]) or "none"
        rest = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        raise InputError(f"{url}: the record has no file '{name}'; it has: {shown}{rest}.")
    if "*" in name:
        return {key: files[key] for key in sorted(found)}
    if len(found) > 1:
        raise InputError(
            f"{url}: {len(found)} files are called '{name}' ({', '.join(sorted(found)[:3])}); "
            "give the `url` of the one that is meant."
        )
    return {name: files[found[0]]}


def _text(path):
    if not path.exists():
        raise InputError(f"{path}: no such record; check source.record of the cohort file.")
    return path.read_text()
