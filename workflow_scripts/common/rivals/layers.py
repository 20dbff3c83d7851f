"""Transformer layers that CA-MAE and KRONOS share.

Shapes: B images, N tokens, K tokens attended to, D width.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    """Multi-head attention, of tokens to themselves or to a context."""

    def __init__(self, width, heads, bias=True, normed=False):
        """`normed`: queries and keys pass a LayerNorm of their own in each head."""
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=bias)
        self.key_value = nn.Linear(width, 2 * width, bias=bias)
        self.out = nn.Linear(width, width)
        size = width // heads
        self.query_norm = nn.LayerNorm(size) if normed else nn.Identity()
        self.key_norm = nn.LayerNorm(size) if normed else nn.Identity()

    def forward(self, tokens, context=None):
        """Return [B, N, D] of tokens [B, N, D] that look at `context` [B, K, D] or themselves."""
        context = tokens if context is None else context
        q = self.query_norm(self.query(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2))
        k, v = self.key_value(context).chunk(2, dim=-1)
        k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (k, v))
        mixed = F.scaled_dot_product_attention(q, self.key_norm(k).to(v.dtype), v)  # [B, h, N, d]
        return self.out(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Sequential):
    """Two layers, four times as wide between."""

    def __init__(self, width):
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class Scale(nn.Module):
    """A learned factor for every dimension (LayerScale)."""

    def __init__(self, width, start):
        super().__init__()
        self.factor = nn.Parameter(torch.full((width,), start))

    def forward(self, tokens):
        """Return tokens [..., D] times the factor."""
        return tokens * self.factor


class DropPath(nn.Module):
    """In training, leaves a branch out of whole images with probability `share`."""

    def __init__(self, share):
        super().__init__()
        self.share = share

    def forward(self, branch):
        """Return [B, N, D], images that are kept scaled up so that the mean stays."""
        if not self.training or self.share == 0:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.share
        return branch * kept / (1 - self.share)


class Block(nn.Module):
    """Attention, then an MLP, each after a norm and beside a shortcut."""

    def __init__(self, width, heads, scale=None, drop_path=0.0):
        """`scale`: where LayerScale starts, or None for none."""
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attention, self.mlp = Attention(width, heads), Mlp(width)
        self.scale1 = nn.Identity() if scale is None else Scale(width, scale)
        self.scale2 = nn.Identity() if scale is None else Scale(width, scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens):
        """Return [B, N, D]."""
        tokens = tokens + self.drop_path(self.scale1(self.attention(self.norm1(tokens))))
        return tokens + self.drop_path(self.scale2(self.mlp(self.norm2(tokens))))


class ParallelBlock(nn.Module):
    """Attention and MLP side by side after one norm, with normed queries and keys."""

    def __init__(self, width, heads, scale, drop_path=0.0):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads, bias=False, normed=True)
        self.mlp = Mlp(width)
        self.scale1, self.scale2 = Scale(width, scale), Scale(width, scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens):
        """Return [B, N, D]."""
        x = self.norm(tokens)
        branches = self.scale1(self.attention(x)), self.scale2(self.mlp(x))
        return tokens + sum(map(self.drop_path, branches))


def sine_positions(height, width, dimension):
    """Return fixed position codes [height * width, D]: sines and cosines of row, then column.

    A quarter of D each; frequencies fall from 1 to 1/10000.
    """
    frequency = 10000.0 ** -(torch.arange(dimension // 4) / (dimension // 4))
    rows, cols = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    angles = [place.flatten()[:, None] * frequency for place in (rows, cols)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)


def initialise(module):
    """Draw linear weights from a truncated normal of 0.02 and set biases to 0."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
