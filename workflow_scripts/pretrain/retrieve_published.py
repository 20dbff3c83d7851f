"""Bring the weights that the authors published here, checked against their repository's listing."""

import json
import re
from functools import partial
from pathlib import Path

from workflow_scripts.common.access import check_address
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.retrieval import retrieve_files
from workflow_scripts.common.staging import staged
from workflow_scripts.common.transfer import get_text
from workflow_scripts.common.validation import parse_json


def describe(hub, repository, revision, file, get):
    """Return the file of a Hugging Face repository as retrieve_files takes it.

    `get(url)` fetches text. `revision`: a branch or a commit; the address names the commit, so
    that what is resumed is never of another version. InputError if the hub has no such file.
    """
    about = f"{hub}/api/models/{repository}/revision/{revision}"
    commit = _load(get(about), about, dict).get("sha")
    if not re.fullmatch(r"[0-9a-f]{40}", str(commit)):
        raise InputError(f"{about}: gives no commit ({commit!r}); check `published.revision`.")
    listing = f"{hub}/api/models/{repository}/tree/{commit}?recursive=1"
    items = {item["path"]: item for item in _load(get(listing), listing, list) if "path" in item}
    if file not in items or "lfs" not in items[file]:
        weights = sorted(path for path, item in items.items() if "lfs" in item)
        raise InputError(
            f"{listing}: no weights called '{file}'; there are: {', '.join(weights) or 'none'}; "
            "correct `published.file`."
        )
    lfs = items[file]["lfs"]
    return {
        "name": Path(file).name,
        "url": f"{hub}/{repository}/resolve/{commit}/{file}",
        "size": int(lfs["size"]),
        "sha256": lfs["oid"].removeprefix("sha256:"),
        "checked_against": {"size": "repository", "sha256": "repository"},
        "commit": commit,
    }


def retrieve(settings, path, offline=False, sleep=None):
    """Bring the weights to `path`; returns what is known of them, as retrieved.json says it."""
    path = Path(path)
    address = check_address(settings["hub"].rstrip("/"), "published.hub")
    if offline:
        if not path.exists():
            raise InputError(
                f"offline: {path} is not there; get {settings['file']} of {address}/"
                f"{settings['repository']} elsewhere and put it there."
            )
        file = {"name": path.name, "url": None, "checked_against": {}}
    else:
        get = partial(get_text, **({"sleep": sleep} if sleep else {}))
        names = (settings[key] for key in ("repository", "revision", "file"))
        file = describe(address, *names, get)
    path.parent.mkdir(parents=True, exist_ok=True)
    [found] = retrieve_files([{**file, "name": path.name}], path.parent, offline, sleep=sleep)
    log.info("%s: sha256 %s, commit %s", path, found["sha256"], found.get("commit", "not known"))
    return {"repository": settings["repository"], "file": settings["file"], **found}


def _load(text, where, kind):
    return parse_json(text, where, "an answer of Hugging Face", lambda a: isinstance(a, kind))


def main(snakemake):
    """Retrieve `published.file` and say what came in retrieved.json, beside it."""
    output, settings = Path(snakemake.output.retrieved), snakemake.params.published
    path = output.with_name(Path(settings["file"]).name)
    answer = retrieve(settings, path, snakemake.config["offline"])
    with staged(output) as [part]:
        part.write_text(json.dumps(answer, indent=1) + "\n")


if __name__ == "__main__":
    run(main, globals())
