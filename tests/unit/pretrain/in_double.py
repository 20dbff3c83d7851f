"""A process of a training by torchrun that computes in float64; see test_processes.py."""

import sys

from virtues_core import VirTues
from workflow_scripts.pretrain import instance, train_process

if __name__ == "__main__":
    instance.VirTues = lambda *given: VirTues(*given).double()
    train_process.main(sys.argv[1])
