"""The one place where attention is called and where its backend is chosen.

A backend is a module with two functions, `attend` over sequences of equal length and
`attend_packed` over a `Layout`. To add one, write the module and add its name to `BACKENDS`.
"""

import functools
import importlib
import logging
import os
from types import ModuleType

from torch import Tensor

from virtues_core.attention.layout import Layout

logger = logging.getLogger(__name__)

VARIABLE = "VIRTUES_ATTENTION"
BACKENDS = ("sdpa", "reference")  # "auto" takes the first that is available


def attend(q: Tensor, k: Tensor, v: Tensor, backend: str = "auto") -> Tensor:
    """Softmax attention over sequences of equal length.

    Takes q [sequences, queries, heads, head_width] and k, v [sequences, keys, heads, head_width];
    returns the shape of q. The scale is 1 / sqrt(head_width).
    """
    return _module(backend).attend(q, k, v)


def attend_packed(q: Tensor, k: Tensor, v: Tensor, layout: Layout, backend: str = "auto") -> Tensor:
    """Softmax attention within each sequence of `layout`.

    Takes q, k, v and returns tokens in packed order, [N, heads, head_width].
    The scale is 1 / sqrt(head_width).
    """
    return _module(backend).attend_packed(q, k, v, layout)


def allowed_backends() -> tuple[str, ...]:
    """Return what a configuration or VIRTUES_ATTENTION may ask for."""
    return ("auto", *BACKENDS)
