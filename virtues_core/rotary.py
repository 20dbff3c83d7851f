"""Rotary position embeddings in two directions (Su et al. 2024; Methods, "VirTues Encoder").

The first half of a head's features turns with the row of a patch, the second half with its
column. Within a half of width h, feature i is paired with feature i + h/2.
"""

from typing import NamedTuple

import torch
from torch import Tensor

BASE = 10000.0


class Rotary(NamedTuple):
    """Factors for a set of tokens, both float32 [tokens, 1, head_width] (1 for the heads).

    `sin` carries the sign of the rotation, so that turning needs no negation.
    """

    cos: Tensor
    sin: Tensor

    def at(self, tokens: Tensor) -> "Rotary":
        """Return the factors at the given indices, int64 [n]."""
        return Rotary(self.cos[tokens], self.sin[tokens])


def rotary_angles(length: int, half: int, device=None) -> Tensor:
    """Return the angles of positions 0..length-1 in radians, float32 [length, half / 2]."""
    exponents = torch.arange(0, half, 2, dtype=torch.float32, device=device) / half
    positions = torch.arange(length, dtype=torch.float32, device=device)
    return positions[:, None] * BASE**-exponents


def rotary_grid(rows: int, cols: int, head_width: int, device=None) -> Rotary:
    """Return the factors of a patch grid in row-major order, for rows * cols tokens."""
    quarter = head_width // 4
    row = rotary_angles(rows, head_width // 2, device)[:, None].expand(rows, cols, quarter)
    col = rotary_angles(cols, head_width // 2, device)[None].expand(rows, cols, quarter)
    cos = torch.cat([row.cos(), row.cos(), col.cos(), col.cos()], dim=-1)
    sin = torch.cat([-row.sin(), row.sin(), -col.sin(), col.sin()], dim=-1)
    return Rotary(cos.view(-1, 1, head_width), sin.view(-1, 1, head_width))


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Turn queries or keys [..., tokens, heads, head_width] to their positions, in float32."""
    pairs = x.unflatten(-1, (2, 2, -1))  # (row | column, lower | upper, head_width / 4)
    swapped = pairs.flip(-2).flatten(-3)
    return x * rotary.cos + swapped * rotary.sin
