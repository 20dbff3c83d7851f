"""Whether a study's results can go where they are meant to, before the first job runs."""

import json
import os
import tempfile
from pathlib import Path

from workflow_scripts.common.errors import InputError

SHOWN = 6  # names of changed settings in a message


def claim_folder(folder, config):
    """Make `folder` the results of the study `config`; returns the settings that have changed.

    The settings are kept in `study.json` there. Changed ones are no fault: Snakemake runs again
    what they touch. InputError if the folder cannot be written to, or if it holds simulated
    results and the study is real, or the other way round.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written to ({error.strerror}); change its rights, make room, or "
            "set `study` to a name whose folder can be written to"
        ) from None
    config = json.loads(json.dumps(config))  # as it will be read again: no tuples
    note = folder / "study.json"
    before = _read(note) if note.exists() else config
    if before.get("simulated") != config["simulated"]:
        kinds = ["real", "simulated"] if config["simulated"] else ["simulated", "real"]
        raise InputError(
            f"{folder}: holds results of {kinds[0]} data, and this study's are {kinds[1]}; set "
            "`study` to another name, or remove the folder, so that they never mix"
        )
    part = folder / ".study.json.part"
    part.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(part, note)
    return changed(before, config)


def refuse_unwritable(writers):
    """Raise InputError if a file of `writers` {path: rule} goes where nothing can be written."""
    for path, rule in writers.items():
        folder = next(folder for folder in Path(path).absolute().parents if folder.exists())
        if not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(
                f"{folder}: {rule} cannot write here; have the file system mounted for writing or "
                "correct the permissions, and start again"
            )


def changed(before, after, path=""):
    """Return the dotted names of the settings that differ between two configurations."""
    names = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            names += changed(old, new, f"{path}{key}.")
        elif old != new:
            names.append(f"{path}{key}")
    return names


def said(folder, names):
    """Return the sentence on settings that have changed since the last run, or nothing."""
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (
        f"{folder} was last run with other settings ({', '.join(names[:SHOWN])}{more}): what they "
        "touch runs again, and files of cohorts or models that are no longer named stay there."
    )


def _read(note):
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(
            f"{note}: expected the settings of the last run as JSON; remove the file"
        ) from None
