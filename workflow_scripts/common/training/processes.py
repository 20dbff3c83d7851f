"""The processes of one training: this one alone, or those that torchrun started.

There is no wrapper around the model: each process sums its gradients over its part of the
effective batch and they are added once per step. That is exact whatever part a process has, and
the sum of 42 million numbers is little beside a step over 512 crops.
"""

import os
import sys

import torch
import torch.distributed as dist

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log


class Processes:
    """One process among `size`; each of its methods is a call that all of them make."""

    def __init__(self, rank=0, size=1):
        self.rank, self.size = rank, size

    @classmethod
    def join(cls, device):
        """Meet the other processes that torchrun started, each on a GPU of its own if `cuda`."""
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        # Flags travel between CPUs, so that agreeing on them never waits for a GPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    @staticmethod
    def leave():
        """Part from the others at the end."""
        dist.destroy_process_group()

    def sum(self, tensor):
        """Add up `tensor` over all processes, in place, and return it."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def largest(self, *values):
        """Return the largest of each integer over all processes."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor.tolist()

    def gather(self, item):
        """Return the `item` of every process, in order of rank."""
        if self.size == 1:
            return [item]
        items = [None] * self.size
        dist.all_gather_object(items, item)
        return items

    def copy_first(self, tensors):
        """Overwrite `tensors` with those of the first process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def together(self, action):
        """Return `action()`; an InputError on any process ends all, and the first tells it."""
        answer = error = None
        try:
            answer = action()
        except InputError as raised:
            error = str(raised)
        errors = [error for error in self.gather(error) if error]
        if errors:
            self.fail(errors[0])
        return answer

    def fail(self, sentence):
        """End all processes; the first tells why, before any leaves and so ends the others."""
        if self.size == 1:
            raise InputError(sentence)
        if self.rank == 0:
            log.error("%s", sentence)
        self.gather(None)
        sys.exit(1)


def check_divides(batch, processes):
    """Raise InputError if an effective batch cannot be divided evenly over `processes`."""
    if batch % processes:
        raise InputError(
            f"settings (config.yaml and its overlays): pretrain.batch: an effective batch of "
            f"{batch} crops cannot be divided evenly over {processes} processes; choose "
            "pretrain.processes x pretrain.nodes so that it divides the batch"
        )
