"""One process of a training that torchrun started; see pretrain.py."""

import json
import logging
import sys
from pathlib import Path

from workflow_scripts.common.device import repeat_every_bit
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.failures import end_with_scheduler, explain
from workflow_scripts.common.job import FORMAT, log
from workflow_scripts.common.training.processes import Processes
from workflow_scripts.pretrain.instance import train_instance
from workflow_scripts.pretrain.rival import train_rival


def main(job_file):
    """Train as one of many; all add their errors to the log of the rule, the first its course."""
    job = json.loads(Path(job_file).read_text())
    if job["deterministic"]:
        repeat_every_bit()
    processes = Processes.join(job["device"])
    handler = logging.FileHandler(job["log"], mode="a")
    level = logging.ERROR if processes.rank else logging.INFO
    logging.basicConfig(level=level, handlers=[handler], force=True, **FORMAT)
    end_with_scheduler()
    try:
        train = train_rival if "rival" in job else train_instance
        train(job, processes)
    except InputError as error:
        log.error("%s", error)
        sys.exit(1)
    except Exception as error:
        sentence = explain(error, [], [])
        if sentence:
            log.error("%s", sentence)
        else:
            log.exception("process %d failed", processes.rank)
        sys.exit(1)
    processes.leave()


if __name__ == "__main__":
    main(sys.argv[1])
