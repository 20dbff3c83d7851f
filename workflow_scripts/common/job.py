"""How a script starts: under Snakemake, or by hand with the same inputs and outputs."""

import logging
import os
import sys
from pathlib import Path

from workflow_scripts.common.access import redact
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.failures import end_with_scheduler, explain
from workflow_scripts.common.manifest import write_manifests

log = logging.getLogger("virtues")
FORMAT = {"format": "%(asctime)s %(levelname)s %(message)s", "datefmt": "%H:%M:%S"}


class _Formatter(logging.Formatter):
    """Keeps credentials out of logs, whoever puts them into a message or a traceback."""

    def format(self, record):
        return redact(super().format(record))


def run(main, script_globals):
    """Run `main(snakemake)` with its log configured.

    Under Snakemake the `snakemake` object is already a global of the script. By hand,
    `python -m workflow_scripts.cohorts.split cohort=x --configfile demo/study.yaml`
    builds the same object from the Snakefile, so a script runs in a debugger with real paths.
    """
    snakemake = script_globals.get("snakemake")
    if snakemake is None:
        from workflow_scripts.common.mock import snakemake_from_command_line

        snakemake = snakemake_from_command_line(Path(script_globals["__file__"]).stem, sys.argv[1:])
    try:
        configure_logging(snakemake.log[0] if snakemake.log else None)
        end_with_scheduler()
        if snakemake.config["deterministic"] and "device" in snakemake.params.keys():
            # Loaded here, as it imports torch, which costs seconds.
            from workflow_scripts.common.device import repeat_every_bit

            repeat_every_bit()
        main(snakemake)
        write_manifests(snakemake)
    except InputError as error:
        log.error("%s", error)
        sys.exit(1)
    except Exception as error:
        sentence = explain(error, list(snakemake.input), list(snakemake.output))
        if sentence:
            log.error("%s", sentence)
        else:
            log.exception("rule %s failed", snakemake.rule)
        sys.exit(1)


def configure_logging(path=None):
    """Send one line per step to the rule's log file and to stderr."""
    logging.raiseExceptions = False  # on a full disk they would bury what is said of it
    handlers = [logging.StreamHandler()]
    if path:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        open(path, "w").close()
        # Appending, as other processes of the job may write to the same file.
        handlers.append(logging.FileHandler(path, mode="a"))
    for handler in handlers:
        handler.setFormatter(_Formatter(FORMAT["format"], FORMAT["datefmt"]))
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
