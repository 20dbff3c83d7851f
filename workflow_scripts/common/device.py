"""The device that a job computes on."""

import torch

from workflow_scripts.common.errors import InputError


def check_device(device):
    """Refuse to fall back silently to a CPU when the study asks for a GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "config.yaml: device: cuda was asked for but torch sees no GPU; run on a GPU node, "
            "install a CUDA build of torch, or set `device: cpu`"
        )
