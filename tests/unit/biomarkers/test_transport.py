"""Entropic distances against POT, on tokens that move and on tokens that do not."""

import numpy as np
import ot
import pytest
import torch

from workflow_scripts.biomarkers import transport
from workflow_scripts.biomarkers.transport import entropic_transport, mean_squared_distance


def clouds(n, m, width, shift=0.5, seed=0):
    rng = np.random.default_rng([seed, n, m, width])
    return 20 + rng.normal(size=(n, width)), 20 + shift + rng.normal(size=(m, width))


def tensors(*arrays):
    return [torch.as_tensor(array) for array in arrays]


@pytest.mark.parametrize(
    ("n", "m", "width", "epsilon"),
    [(1, 1, 2, 0.1), (1, 6, 2, 0.1), (5, 7, 3, 0.1), (60, 40, 8, 0.01), (80, 70, 16, 0.005)],
)
@pytest.mark.parametrize("block", [transport.BLOCK, 100])
def test_the_cost_is_pot_s(n, m, width, epsilon, block, monkeypatch):
    monkeypatch.setattr(transport, "BLOCK", block)
    a, b = clouds(n, m, width)
    costs = ot.dist(a, b)
    ours = entropic_transport(*tensors(a, b), epsilon, 1e-10, 3000)
    uniform = [np.full(size, 1 / size) for size in (n, m)]
    plan = ot.sinkhorn(
        *uniform, costs, epsilon * costs.mean(), "sinkhorn_log", numItermax=20000, stopThr=1e-10
    )
    assert abs(ours.cost - (plan * costs).sum()) < 1e-6
    assert ours.epsilon == pytest.approx(epsilon * costs.mean())
    exact = ot.emd2(*uniform, costs)
    assert ours.bound <= exact + 1e-9 and exact <= ours.cost + 1e-6


def test_epsilon_may_be_in_units_of_the_cost():
    a, b = tensors(*clouds(30, 40, 4))
    relative = entropic_transport(a, b, 0.05, 1e-8, 2000)
    absolute = entropic_transport(a, b, 0.05 * mean_squared_distance(a, b), 1e-8, 2000, False)
    assert absolute.cost == pytest.approx(relative.cost, abs=1e-9)


def test_a_few_rounds_in_single_precision_are_close_to_the_exact_distance():
    a, b = clouds(300, 250, 16)
    exact = ot.emd2([], [], ot.dist(a, b))
    ours = entropic_transport(*tensors(np.float32(a), np.float32(b)), 1e-3, 0.01, 60)
    assert ours.cost == pytest.approx(exact, rel=0.002)
    assert exact * 0.998 < ours.bound < exact * 1.00001
    assert ours.rounds <= 60 and ours.error < 0.05


def test_no_matrix_of_all_pairs_is_made(monkeypatch):
    monkeypatch.setattr(transport, "BLOCK", 1000)
    sizes, blocks = [], transport._Costs.blocks

    def seen(costs, *given):
        for part, score in blocks(costs, *given):
            sizes.append(score.numel())
            yield part, score

    monkeypatch.setattr(transport._Costs, "blocks", seen)
    entropic_transport(*tensors(*clouds(200, 300, 4)), 0.1, 0.01, 5)
    assert sizes and max(sizes) <= 1000


def test_products_in_the_order_of_onednn_give_the_same_cost(monkeypatch):
    pair = tensors(*map(np.float32, clouds(300, 250, 16)))
    plain = entropic_transport(*pair, 1e-3, 0.01, 60)
    made, packed = [], transport.PackedLinear
    monkeypatch.setattr(transport, "by_onednn", lambda *_: True)
    monkeypatch.setattr(
        transport, "PackedLinear", lambda *given: made.append(given) or packed(*given)
    )
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    ours = entropic_transport(*pair, 1e-3, 0.01, 60)
    assert made and ours.rounds == plain.rounds
    assert ours.cost == pytest.approx(plain.cost, rel=1e-4)


def test_a_shift_of_all_cells_costs_its_square():
    a, _ = clouds(50, 1, 6)
    moved = entropic_transport(*tensors(a, a + 3.0), 1e-4, 1e-6, 3000)
    assert moved.cost == pytest.approx(9 * 6, rel=1e-4)
    same = torch.ones(4, 3)
    assert entropic_transport(same, same, 1e-3, 0.01, 10).cost == 0


def test_over_relaxed_updates_end_where_plain_ones_do(monkeypatch):
    a, b = tensors(*clouds(40, 60, 3))
    fast = entropic_transport(a, b, 0.01, 1e-9, 5000)
    monkeypatch.setattr(transport, "RELAX", 1.0)
    plain = entropic_transport(a, b, 0.01, 1e-9, 5000)
    assert fast.cost == pytest.approx(plain.cost, abs=1e-7)
    assert fast.rounds < plain.rounds / 2
