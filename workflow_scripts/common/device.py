"""The device that a job computes on."""

import os

import torch

from workflow_scripts.common.errors import InputError

BFLOAT16 = (8, 0)  # compute capability


def check_device(device, gpus=1):
    """Refuse to fall back silently to a CPU, or to fewer GPUs, when the study asks for some."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "config.yaml: device: cuda was asked for but torch sees no GPU; run on a GPU node, "
            "install a CUDA build of torch, or set `device: cpu`"
        )
    if device == "cuda" and torch.cuda.device_count() < gpus:
        raise InputError(
            f"config.yaml: {gpus} GPUs of a node were asked for but torch sees "
            f"{torch.cuda.device_count()}; lower pretrain.processes, or run where they are"
        )


def check_bfloat16(device, instead=""):
    """Refuse a GPU that computes bfloat16 not at all or by detours; `instead` is what to set."""
    if device == "cuda" and (found := torch.cuda.get_device_capability()) < BFLOAT16:
        has, needed = (".".join(map(str, capability)) for capability in (found, BFLOAT16))
        raise InputError(
            f"{torch.cuda.get_device_name()} has compute capability {has}, and bfloat16 needs "
            f"{needed} or later; {instead}run on such a GPU"
        )


def repeat_every_bit():
    """Use only algorithms that give the same bits in every run, on a GPU too.

    Scripts need not ask for it: `common.job.run` does so for every rule with a `device` where the
    study says `deterministic`. A process that a script starts is told to.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(True)
