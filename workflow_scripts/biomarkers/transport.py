"""Entropic 2-Wasserstein distances between large sets of cells ("Treatment responses"; D12).

Costs are squared distances. They are made block by block from the tokens and never kept, so that
memory grows with the number of cells and not with its square.

Shapes: n and m cells, D the width of a token.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch.nn.functional import linear

from virtues_core.linear import PackedLinear, by_onednn

BLOCK = 2**21  # costs that are in memory at a time
SHRINK = 0.8  # of epsilon from round to round, while it falls to its final value
RELAX = 1.8  # of every update, once epsilon has fallen: Thibault et al. 2021
FAINT = -80.0  # exponents below it are as good as none, and slow: their results are denormal


@dataclass
class Transport:
    """What a plan between two sets of cells, of equal weight within each, costs.

    cost: sum of pi times squared distances. error: L1 distance of the plan's marginals from what
    they should be. bound: no plan at all costs less (by duality), with entropy or without.
    epsilon: in the units of the cost. rounds: updates of both potentials.
    """

    cost: float
    error: float
    bound: float
    epsilon: float
    rounds: int


def mean_squared_distance(a_nD, b_mD):
    """Return the mean squared distance of all pairs, from moments alone."""
    a, b = a_nD.double(), b_mD.double()
    spread = sum((tokens - tokens.mean(0)).square().sum(1).mean() for tokens in (a, b))
    return float(spread + (a.mean(0) - b.mean(0)).square().sum())


def entropic_transport(a_nD, b_mD, epsilon, tolerance, max_rounds, relative=True):
    """Return the entropic `Transport` between tokens on one device, computed in their precision.

    `epsilon` is the weight of sum(pi log pi), `relative` to the mean squared distance or in the
    units of the cost. Sinkhorn's updates run on potentials, over-relaxed; epsilon falls to its
    value first, so that every update starts close to its end. They stop once the L1 error of the
    marginals is below `tolerance`, or after `max_rounds`. Mass that then still lacks at a cell is
    charged at that cell's potential, which leaves an error of second order in what lacks.
    """
    unit = mean_squared_distance(a_nD, b_mD)
    if unit == 0:
        return Transport(0.0, 0.0, 0.0, 0.0, 0)
    final = epsilon if relative else epsilon / unit
    centre, scale = torch.cat([a_nD, b_mD]).mean(0), unit**0.5
    rows = _Costs((a_nD - centre) / scale, (b_mD - centre) / scale)
    columns = rows.transposed()
    f, g = a_nD.new_zeros(len(a_nD)), b_mD.new_zeros(len(b_mD))
    current, relax, least = max(1.0, final), 1.0, torch.inf
    rounds = 0
    while rounds < max_rounds:
        rounds += 1
        f = torch.lerp(f, rows.soft_minimum(g, current), relax)
        wanted = columns.soft_minimum(f, current)
        error = _lacking(g, wanted, current).abs().mean().item()
        g = torch.lerp(g, wanted, relax)
        if current == final:
            if error < tolerance:
                break
            # Should it ever run away, plain updates converge from anywhere.
            relax = RELAX if error < 2 * least else 1.0
            least = min(least, error)
        current = max(current * SHRINK, final)
    # With this f the plan takes the right mass from every cell of a.
    f = rows.soft_minimum(g, current)
    lacking = _lacking(g, columns.soft_minimum(f, current), current)
    cost = rows.spend(f, g, current) + float((g * lacking).double().mean())
    return Transport(
        cost * unit,
        float(lacking.abs().mean()),
        rows.bound(f) * unit,
        current * unit,
        rounds,
    )


def _lacking(g_m, wanted_m, epsilon):
    """Return the share of its mass that each cell of b lacks under the plan of f and g, [m]."""
    return 1 - torch.exp((g_m - wanted_m) / epsilon)


class _Costs:
    """Squared distances of all pairs, block by block of rows."""

    def __init__(self, a_nD, b_mD):
        self.a, self.b = a_nD, b_mD
        self.a_square, self.b_square = a_nD.square().sum(1), b_mD.square().sum(1)

    def transposed(self):
        return _Costs(self.b, self.a)

    def blocks(self, shift_m, scale):
        """Yield rows and (shift_j - C_ij) * scale without what depends on i alone, [rows, m]."""
        bias = (shift_m - self.b_square) * scale
        rows = max(BLOCK // len(self.b), 1)
        product = partial(linear, weight=self.b, bias=bias)
        if by_onednn(self.a[:rows], self.b):
            # The rows of a block are few, and b would be put in order anew for each.
            product = PackedLinear(self.b, bias, rows)
        for start in range(0, len(self.a), rows):
            part = slice(start, start + rows)
            yield part, product(self.a[part] * (2 * scale))

    def soft_minimum(self, g_m, epsilon):
        """Return the potential [n] with which the plan takes 1/n from each of the n cells."""
        result = torch.empty_like(self.a_square)
        for part, score in self.blocks(g_m, 1 / epsilon):
            top = score.amax(1, keepdim=True)
            score = score.sub_(top).clamp_(min=FAINT).exp_()
            result[part] = score.mean(1).log_() + top[:, 0]
        return self.a_square - epsilon * result

    def spend(self, f_n, g_m, epsilon):
        """Return the sum of pi_ij C_ij of the plan exp((f_i + g_j - C_ij) / epsilon) / nm."""
        cost, start = 0.0, (f_n - self.a_square) / epsilon
        for part, score in self.blocks(g_m, 1 / epsilon):
            score += start[part, None]
            price = f_n[part, None] + g_m - epsilon * score
            price *= score.clamp_(min=FAINT).exp_()
            cost += float(price.sum(dtype=torch.float64))
        return cost / len(self.a) / len(self.b)

    def bound(self, f_n):
        """Return the dual value of f without entropy: at most the cost of any plan."""
        g = torch.empty_like(self.b_square)
        for part, score in self.transposed().blocks(f_n, 1.0):
            g[part] = -score.amax(1)
        g += self.b_square
        return float(f_n.double().mean() + g.double().mean())
