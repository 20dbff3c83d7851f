"""The one place where attention is called and where its backend is chosen.

A backend is a module with two functions, `attend` over sequences of equal length and
`attend_packed` over a `Layout`. To add one, write the module and add a row to `BACKENDS`.
Every backend gives the same numbers again under torch.use_deterministic_algorithms(True).
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

from virtues_core.attention import missing
from virtues_core.attention.layout import Layout

logger = logging.getLogger(__name__)

VARIABLE = "VIRTUES_ATTENTION"


@dataclass(frozen=True)
class Backend:
    """A module that computes attention, imported when it is chosen.

    `missing(device_type, dtype, head_width)` names what the backend lacks there, or returns None.
    """

    module: str
    missing: Callable[[str, torch.dtype, int], str | None] = missing.for_anywhere


BACKENDS = {
    "triton": Backend("virtues_core.attention.triton_short", missing.for_triton),
    "flash": Backend("virtues_core.attention.flash", missing.for_flash),
    "sdpa": Backend("virtues_core.attention.sdpa"),
    "reference": Backend("virtues_core.attention.reference"),
}
MODULES: dict[str, ModuleType] = {}  # those chosen so far
# "auto" takes the first that lacks nothing. The reference is slow and has to be asked for.
ON_GPU = ("triton", "flash", "sdpa")
ELSEWHERE = ("sdpa",)
# Where the Triton kernel leaves the sequences that no tile holds.
FOR_LONG = ("flash", "sdpa")


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
    """Return the backend's module for q like `tensor`; VIRTUES_ATTENTION goes first."""
    name = _select(os.environ.get(VARIABLE), backend, *_kind(tensor))
    return MODULES[name]


def select_for_long(tensor: Tensor) -> ModuleType:
    """Return the module for sequences that are too long for the Triton kernel."""
    return MODULES[_select_for_long(*_kind(tensor))]


def _kind(tensor: Tensor) -> tuple[str, torch.dtype, int]:
    return tensor.device.type, tensor.dtype, tensor.shape[-1]


def _constant(function):
    """Mark a function as a constant for a compiler, which has nothing to trace in it.

    torch.compiler.assume_constant_result sets the same mark, but imports the compiler for it:
    more than a second in every process that loads a model and compiles nothing.
    """
    function._dynamo_marked_constant = True
    return function


@_constant
def _select(variable: str | None, configured: str, *kind) -> str:
    name, source = (variable, VARIABLE) if variable else (configured, "the configuration")
    if name not in allowed_backends():
        raise ValueError(
            f"{source} asks for the attention backend {name!r}; "
            f"allowed are {', '.join(allowed_backends())}."
        )
    device_type, dtype, _ = kind
    on_gpu = device_type == "cuda" and dtype in missing.HALF
    automatic = ON_GPU if on_gpu else ELSEWHERE
    return _first(automatic if name == "auto" else (name,), f"{source} asks for {name}", kind)


@_constant
def _select_for_long(*kind) -> str:
    return _first(FOR_LONG, "sequences too long for triton", kind)


@functools.cache  # chosen, and logged, once for each kind of tensor
def _first(names: tuple[str, ...], reason: str, kind: tuple) -> str:
    """Return the first backend that lacks nothing, and log why."""
    device_type, dtype, head_width = kind
    where = f"{device_type} in {dtype}, heads of {head_width}"
    lacking = {}
    for name in names:
        lack = BACKENDS[name].missing(*kind)
        if lack is None:
            reasons = [reason, *(f"{other} passed over: {why}" for other, why in lacking.items())]
            logger.info("attention on %s: %s (%s)", where, name, "; ".join(reasons))
            MODULES[name] = importlib.import_module(BACKENDS[name].module)
            return name
        lacking[name] = lack
    raise ValueError(
        f"{reason}, an attention backend that cannot run on {where}: "
        f"{'; '.join(lacking.values())}; allowed are {', '.join(allowed_backends())}."
    )
