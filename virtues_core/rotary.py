"""Rotary position embeddings in two directions (Su et al. 2024; Methods, "VirTues Encoder").

The first half of a head's features turns with the row of a patch, the second half with its
column. Features 2i and 2i + 1 are the two parts of one complex number, which is multiplied by
exp(i * angle): one pass over memory. The authors keep the parts h/2 features apart, in a half of
width h; `weights.py` reorders their query and key projections, which changes no attention score.
"""

import torch
from torch import Tensor

from virtues_core.precision import widen

BASE = 10000.0


def rotary_angles(length: int, half: int, device=None) -> Tensor:
    """Return the angles of positions 0..length-1 in radians, float32 [length, half / 2]."""
    exponents = torch.arange(0, half, 2, dtype=torch.float32, device=device) / half
    positions = torch.arange(length, dtype=torch.float32, device=device)
    return positions[:, None] * BASE**-exponents


def rotary_grid(rows: int, cols: int, head_width: int, device=None) -> Tensor:
    """Return the turns of a patch grid in row-major order: cosine and sine of every angle.

    The result is float32 [rows * cols, 1, head_width / 2, 2], with 1 for the heads.
    """
    quarter = head_width // 4
    row = rotary_angles(rows, head_width // 2, device)[:, None].expand(rows, cols, quarter)
    col = rotary_angles(cols, head_width // 2, device)[None].expand(rows, cols, quarter)
    angles = torch.cat([row, col], dim=-1).view(rows * cols, 1, 2 * quarter)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn queries or keys [tokens, heads, head_width] to their positions, in float32.

    `turns` is float32 [tokens, 1, head_width / 2, 2].
    """
    pairs = widen(x).unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # a compiler makes one kernel of this, but not of complex
        (a, b), (cos, sin) = pairs.unbind(-1), turns.unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
    turned = torch.view_as_complex(pairs) * torch.view_as_complex(turns)
    return torch.view_as_real(turned).flatten(-2)


def rotate_(x: Tensor, turns: Tensor) -> None:
    """Turn float32 queries or keys [..., tokens, heads, head_width] in place; see `rotate`."""
    torch.view_as_complex(x.unflatten(-1, (-1, 2))).mul_(torch.view_as_complex(turns))
