"""Bring a cohort's files here, whole and checked, whether from the net, a disk or by hand."""

import json
from functools import partial
from pathlib import Path

from workflow_scripts.cohorts.records import describe_files
from workflow_scripts.common.access import redact
from workflow_scripts.common.cohort import absent_reason, load_cohort
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import run
from workflow_scripts.common.retrieval import retrieve_files
from workflow_scripts.common.staging import staged
from workflow_scripts.common.transfer import get_text


def retrieve(cohort, folder, offline=False, connections=1, sleep=None):
    """Bring all files of `cohort` into `folder`; returns the content of retrieved.json.

    A file that is there already, downloaded or placed by hand, is checked and kept. InputError if
    one cannot be had or is not what the cohort file or the archive's record says.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    reason = absent_reason(cohort, folder)
    if reason:
        raise InputError(f"{cohort.path}: {reason}.")
    get = partial(get_text, **({"sleep": sleep} if sleep else {}))
    files = describe_files(cohort, folder, get, offline)
    files = retrieve_files(files, folder, offline, connections, sleep)
    return {"cohort": cohort.id, "record": cohort.source.get("record"), "files": files}


def main(snakemake):
    """Retrieve one cohort and say what came in retrieved.json, beside its files."""
    output, config = Path(snakemake.output.retrieved), snakemake.config
    cohort = load_cohort(snakemake.input.cohort)
    answer = retrieve(cohort, output.parent, config["offline"], config["connections"])
    with staged(output) as [part]:
        part.write_text(redact(json.dumps(answer, indent=1)) + "\n")


if __name__ == "__main__":
    run(main, globals())
