"""KRONOS after Shaban et al. 2025: one vision transformer over the patches of all markers.

Shapes: B images, M markers, (G, H) patch grid, N = G x H positions, D width, R registers.
"""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from workflow_scripts.common.rivals.layers import Block, initialise

ROWS = 512  # of the table of marker encodings


@dataclass(frozen=True)
class KronosConfig:
    """Sizes; the defaults are those of the released ViT-S, with a patch of 8 px."""

    width: int = 384
    depth: int = 12
    heads: int = 6
    registers: int = 16
    drop_path: float = 0.3
    patch: int = 8
    grid: int = 16  # side of the learned grid of positions

    def to_dict(self):
        """Return the sizes as a plain dict."""
        return asdict(self)


def marker_encodings(width, rows=ROWS):
    """Return the fixed encoding of every marker id, [rows, D]: all sines, then all cosines."""
    frequency = 10000.0 ** -(torch.arange(width // 2) / (width // 2))
    angle = torch.arange(rows)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class Kronos(nn.Module):
    """The encoder; student and teacher are two of it."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        width = config.width
        self.embed = nn.Conv2d(1, width, config.patch, config.patch)
        self.register_buffer("encodings", marker_encodings(width), persistent=False)
        self.summary = nn.Parameter(torch.zeros(width))  # the class token
        self.registers = nn.Parameter(torch.zeros(config.registers, width))
        self.hidden = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(1 + config.grid**2, width))
        self.blocks = nn.Sequential(
            *(Block(width, config.heads, 1e-5, config.drop_path) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(initialise)
        nn.init.trunc_normal_(self.positions, std=0.02)
        nn.init.normal_(self.summary, std=1e-6)
        nn.init.normal_(self.registers, std=1e-6)

    def forward(self, images, markers, hidden=None):
        """Return (class tokens [B, D], patch tokens [B, M, G, H, D]) after the final norm.

        `images` [B, M, S, T]; `markers` [B, M] ids below 512; `hidden` [B, M, G, H] bool. A hidden
        patch keeps its position and loses its marker, as in the published model.
        """
        tokens = self.embed(images.flatten(0, 1)[:, None])
        grid = tokens.shape[-2:]
        tokens = tokens.flatten(2).transpose(1, 2).unflatten(0, images.shape[:2])  # [B, M, N, D]
        tokens = tokens + self.encodings[markers].to(tokens)[:, :, None]
        if hidden is not None:
            tokens = torch.where(hidden.flatten(2)[..., None], self.hidden.to(tokens), tokens)
        tokens = (tokens + self._positions(grid).to(tokens)).flatten(1, 2)
        first = torch.cat([(self.summary + self.positions[0])[None], self.registers])
        first = first.to(tokens).expand(len(tokens), -1, -1)
        tokens = self.norm(self.blocks(torch.cat([first, tokens], dim=1)))
        patch = tokens[:, first.shape[1] :].unflatten(1, (images.shape[1], *grid))
        return tokens[:, 0], patch

    def _positions(self, grid):
        """Return the position codes [N, D] of a grid of any size."""
        side = self.config.grid
        if tuple(grid) == (side, side):
            return self.positions[1:]
        square = self.positions[1:].unflatten(0, (side, side))
        # As products, since the gradient of torch's own resizing is not repeatable on a GPU.
        rows, cols = (_resizing(side, size).to(square) for size in grid)
        return torch.einsum("gr,hc,rcd->ghd", rows, cols, square).flatten(0, 1)


def _resizing(size, wanted):
    """Return the matrix [wanted, size] of bicubic interpolation along one side."""
    unit = torch.eye(size)[None, None]
    return F.interpolate(unit, (wanted, size), mode="bicubic", align_corners=False)[0, 0]


class Head(nn.Module):
    """From tokens to scores of prototypes: three layers, a unit vector, directions to compare."""

    def __init__(self, width, hidden, bottleneck, prototypes):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.apply(initialise)
        self.directions = nn.Parameter(torch.randn(prototypes, bottleneck) / math.sqrt(bottleneck))
        self.lengths = nn.Parameter(torch.ones(prototypes))

    def forward(self, tokens, frozen=False):
        """Return scores [..., K] of tokens [..., D]; `frozen` prototypes are not learned."""
        directions, lengths = self.directions, self.lengths
        if frozen:
            directions, lengths = directions.detach(), lengths.detach()
        prototypes = F.normalize(directions, dim=-1) * lengths[:, None]
        return F.linear(F.normalize(self.mlp(tokens), dim=-1), prototypes)
