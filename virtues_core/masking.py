"""Masks that hide patches, True where hidden (Results, Fig. 2a-c; Methods, "Masking").

Legend: C channels, (G, K) patch grid, S = G * K positions.
"""

import math

import torch
from torch import Tensor

RATIOS = (0.6, 1.0)  # range of the share of hidden patches


def independent_mask(
    channels: int,
    grid: tuple[int, int],
    ratios: tuple[float, float] = RATIOS,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Hide patches of each channel on its own: the mask of training.

    A channel draws r ~ U(ratios) and hides exactly ceil(S * r) of its S positions, chosen
    uniformly without replacement. Returns bool [C, G, K].
    """
    return _random_positions(channels, grid, ratios, generator)


def marker_mask(
    channels: int,
    grid: tuple[int, int],
    hidden: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Hide one whole channel, index `hidden` or one drawn uniformly. Returns bool [C, G, K]."""
    if hidden is None:
        hidden = int(torch.randint(channels, (), generator=generator))
    if not 0 <= hidden < channels:
        raise ValueError(f"cannot hide channel {hidden} of an image with {channels} channels.")
    mask = torch.zeros(channels, *grid, dtype=torch.bool)
    mask[hidden] = True
    return mask


def niche_mask(
    channels: int,
    grid: tuple[int, int],
    ratios: tuple[float, float] = RATIOS,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Hide the same positions in all channels, ceil(S * r) of them with r ~ U(ratios).

    Returns bool [C, G, K].
    """
    return _random_positions(1, grid, ratios, generator).repeat(channels, 1, 1)


def _random_positions(channels, grid, ratios, generator) -> Tensor:
    low, high = ratios
    if not 0 <= low <= high <= 1:
        raise ValueError(f"mask ratios must be a range within 0 and 1, not {low} to {high}.")
    positions = math.prod(grid)
    # float64, as a rounding error in S * r would change what ceil gives.
    drawn = torch.rand(channels, 1, generator=generator, dtype=torch.float64)
    count = torch.ceil(positions * (low + (high - low) * drawn))
    shuffled = torch.rand(channels, positions, generator=generator, dtype=torch.float64)
    # NumPy sorts short rows five times faster; in float64 there are no ties to break.
    shuffled = torch.from_numpy(shuffled.numpy().argsort(axis=1))
    first = torch.arange(positions) < count
    mask = torch.zeros(channels, positions, dtype=torch.bool).scatter_(1, shuffled, first)
    return mask.view(channels, *grid)
