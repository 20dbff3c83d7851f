"""The one place where attention is called and where its backend is chosen.

A backend is a module with two functions, `attend` over sequences of equal length and
`attend_packed` over a `Layout`. To add one, write the module and add a row to `BACKENDS`.
"""

import functools
import importlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from virtues_core.attention.layout import Layout

logger = logging.getLogger(__name__)

VARIABLE = "VIRTUES_ATTENTION"


@dataclass(frozen=True)
class Backend:
    """A module that computes attention, imported when it is chosen.

    `missing(device_type, dtype)` names what the backend lacks there, or returns None.
    """

    module: str
    missing: Callable[[str, torch.dtype], str | None] = lambda device_type, dtype: None


# "auto" takes the first row that lacks nothing.
BACKENDS = {
    "sdpa": Backend("virtues_core.attention.sdpa"),
    "reference": Backend("virtues_core.attention.reference"),
}


def attend(q: Tensor, k: Tensor, v: Tensor, backend: str = "auto") -> Tensor:
    """Softmax attention over sequences of equal length, with the scale 1 / sqrt(head_width).

    Takes q [sequences, queries, heads, head_width] and k, v [sequences, keys, heads, head_width];
    returns the shape of q. Raises ValueError when a backend is asked for that cannot run.
    """
    return select(backend, q).attend(q, k, v)


def attend_packed(q: Tensor, k: Tensor, v: Tensor, layout: Layout, backend: str = "auto") -> Tensor:
    """Softmax attention within each sequence of `layout`, with the scale 1 / sqrt(head_width).

    Takes q, k, v and returns tokens, all in packed order [N, heads, head_width].
    Raises ValueError when a backend is asked for that cannot run.
    """
    return select(backend, q).attend_packed(q, k, v, layout)


def allowed_backends() -> tuple[str, ...]:
    """Return what a configuration or VIRTUES_ATTENTION may ask for."""
    return ("auto", *BACKENDS)


def select(backend: str, tensor: Tensor) -> ModuleType:
    """Return the backend's module for tensors like `tensor`; VIRTUES_ATTENTION goes first."""
    return _select(os.environ.get(VARIABLE), backend, tensor.device.type, tensor.dtype)


@functools.cache  # chosen, and logged, once for each kind of tensor
def _select(variable: str | None, configured: str, device_type: str, dtype: torch.dtype):
    name, source = (variable, VARIABLE) if variable else (configured, "the configuration")
    if name not in allowed_backends():
        raise ValueError(
            f"{source} asks for the attention backend {name!r}; "
            f"allowed are {', '.join(allowed_backends())}."
        )
    lacking = {}
    for candidate in BACKENDS if name == "auto" else [name]:
        lack = BACKENDS[candidate].missing(device_type, dtype)
        if lack is None:
            reasons = [f"{source} asks for {name}"]
            reasons += [f"{other} passed over: {why}" for other, why in lacking.items()]
            where = f"{device_type} in {dtype}"
            logger.info("attention on %s: %s (%s)", where, candidate, "; ".join(reasons))
            return importlib.import_module(BACKENDS[candidate].module)
        lacking[candidate] = lack
    raise ValueError(
        f"{source} asks for the attention backend {name!r}, which cannot run on {device_type} in "
        f"{dtype}: {'; '.join(lacking.values())}; allowed are {', '.join(allowed_backends())}."
    )
