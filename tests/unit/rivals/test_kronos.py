"""KRONOS: its encoder, its losses in closed form, its views and masks, and its teacher."""

import math

import numpy as np
import pytest
import torch

from workflow_scripts.common.rivals.kronos import Head, Kronos, KronosConfig, marker_encodings
from workflow_scripts.common.rivals.token_embedders import KronosEmbedder
from workflow_scripts.common.training.lion import Lion
from workflow_scripts.common.training.schedules import weight_decay
from workflow_scripts.pretrain import kronos_losses as losses
from workflow_scripts.pretrain.kronos_views import augmented, block_mask, random_view

TINY = KronosConfig(width=24, depth=2, heads=3, registers=2, drop_path=0.0, grid=4)


def tiny():
    torch.manual_seed(0)
    model = Kronos(TINY).eval()
    torch.nn.init.normal_(model.hidden)
    return model


def crops(n=2, markers=3, seed=0):
    return torch.randn(n, markers, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_the_sizes_are_those_of_the_released_model():
    with torch.device("meta"):
        model = Kronos(KronosConfig())
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(21.43e6, rel=0.003)


def test_marker_encodings_are_sines_then_cosines():
    table = marker_encodings(8, 20)
    angles = [7 / 10000 ** (j / 4) for j in range(4)]
    wanted = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    torch.testing.assert_close(table[7], torch.tensor(wanted))
    assert table.shape == (20, 8)


def test_the_order_of_markers_is_none_and_any_number_is_read():
    model, ids = tiny(), torch.tensor([[3, 8, 1]] * 2)
    turn = [2, 0, 1]
    with torch.no_grad():
        summary, patch = model(crops(), ids)
        turned_summary, turned = model(crops()[:, turn], ids[:, turn])
        assert patch.shape == (2, 3, 4, 4, 24)
        torch.testing.assert_close(turned_summary, summary, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(turned, patch[:, turn], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(model(crops(), ids + 1)[1], patch)
        assert model(crops(markers=1), ids[:, :1])[1].shape == (2, 1, 4, 4, 24)
        small = crops()[..., :16, :24]  # positions are resized
        assert model(small, ids)[1].shape == (2, 3, 2, 3, 24)


def test_hidden_patches_keep_their_position_and_lose_pixels_and_marker():
    model, ids = tiny(), torch.tensor([[3, 8, 1]])
    hidden = torch.zeros(1, 3, 4, 4, dtype=torch.bool)
    hidden[0, 1] = True
    hidden[0, 0, 2, 2] = True
    images, other = crops(1), crops(1)
    other[0, 1] += 5
    other[0, 0, 16:24, 16:24] += 5
    with torch.no_grad():
        summary, patch = model(images, ids, hidden)
        torch.testing.assert_close(model(other, ids, hidden)[1], patch)
        renamed = torch.tensor([[3, 100, 1]])
        torch.testing.assert_close(model(images, renamed, hidden)[0], summary)
        assert not torch.allclose(patch[0, 1, 0, 0], patch[0, 1, 0, 1])
        assert not torch.allclose(model(images, ids)[1], patch)


def test_the_head_compares_directions():
    torch.manual_seed(0)
    head = Head(24, 16, 8, 5)
    scores = head(torch.randn(7, 24))
    assert scores.shape == (7, 5) and (scores.abs() <= 1 + 1e-6).all()
    head(torch.randn(2, 24), frozen=True).sum().backward()
    assert head.directions.grad is None and head.mlp[0].weight.grad is not None


def test_cross_entropy_in_closed_form():
    one = losses.cross_entropy(torch.tensor([1.0, 0.0]), torch.tensor([0.1, 0.0]))
    assert one.item() == pytest.approx(0.313262, abs=1e-5)
    target = torch.softmax(torch.randn(3, 4), dim=-1)
    even = losses.cross_entropy(target, torch.zeros(3, 4))
    torch.testing.assert_close(even, torch.full((3,), 1.386294))


def test_centring_subtracts_a_running_mean():
    scores, centre = torch.tensor([[1.0, 2.0]]), torch.tensor([1.0, 2.0])
    torch.testing.assert_close(losses.centred(scores, centre, 0.04), torch.tensor([[0.5, 0.5]]))
    assert losses.moved_centre(torch.zeros(1), torch.tensor([2.0])).item() == pytest.approx(0.2)


def test_sinkhorn_in_closed_form():
    scores = torch.log(torch.tensor([[4.0, 1.0], [1.0, 1.0]]))
    once = losses.sinkhorn(scores, 1.0, 1)
    torch.testing.assert_close(once, torch.tensor([[8 / 13, 5 / 13], [2 / 7, 5 / 7]]))
    thrice = losses.sinkhorn(scores, 1.0, 3)
    wanted = torch.tensor([[0.666057, 0.333943], [0.332724, 0.667276]])
    torch.testing.assert_close(thrice, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(losses.sinkhorn(scores + 500, 1.0), thrice, atol=1e-4, rtol=0)
    torch.testing.assert_close(losses.sinkhorn(torch.ones(3, 4), 0.1), torch.full((3, 4), 0.25))
    assert losses.sinkhorn(torch.randn(5, 9), 0.1).sum(dim=1).tolist() == pytest.approx([1] * 5)


def test_the_class_loss_is_the_mean_over_all_pairs_of_views():
    torch.manual_seed(0)
    targets = torch.softmax(torch.randn(2, 3, 4), dim=-1)
    large, small = torch.randn(2, 3, 4), torch.randn(8, 3, 4)
    ce = losses.cross_entropy
    pairs = [ce(targets[g], view).mean() for g in range(2) for view in small]
    pairs += [ce(targets[0], large[1]).mean(), ce(targets[1], large[0]).mean()]
    assert len(pairs) == 18
    ours = losses.class_loss(targets, large, small)
    torch.testing.assert_close(ours, sum(pairs) / 18)


def test_the_hidden_loss_is_a_mean_in_each_view():
    hidden = torch.zeros(2, 3, 2, 2, dtype=torch.bool)
    hidden[0, 0, 0, 0] = hidden[0, 1, 1, 1] = hidden[0, 2, 0, 1] = True
    even = losses.hidden_loss(torch.full((3, 4), 0.25), torch.zeros(3, 4), hidden)
    assert even.item() == pytest.approx(math.log(4) / 2)
    nothing = losses.hidden_loss(torch.zeros(0, 4), torch.zeros(0, 4), hidden & False)
    assert nothing.item() == 0


def test_tokens_that_lie_close_cost_more():
    spread = losses.spread_loss
    root = math.sqrt(3) / 2
    assert spread(torch.eye(2)).item() == pytest.approx(-0.346574, abs=1e-5)
    assert spread(torch.tensor([[1, 0], [0.5, root]])).item() == pytest.approx(0, abs=1e-5)
    assert spread(torch.tensor([[1.0, 0], [1.0, 0]])).item() == pytest.approx(17.54, abs=0.02)
    # Opposite tokens are each other's nearest, not their own.
    assert spread(torch.tensor([[1.0, 0], [-1.0, 0]])).item() == pytest.approx(-0.693147, abs=1e-5)
    assert spread(torch.ones(1, 3)).item() == 0


def test_schedules_in_closed_form():
    momenta = [losses.teacher_momentum(i, 4, 0.992) for i in range(5)]
    assert momenta == pytest.approx([0.992, 0.993172, 0.996, 0.998828, 1], abs=1e-6)
    temperatures = [losses.teacher_temperature(i, 3, 0.04, 0.07) for i in range(5)]
    assert temperatures == pytest.approx([0.04, 0.055, 0.07, 0.07, 0.07])
    settings = {"weight_decay": 0.04, "weight_decay_end": 0.4}
    decays = [weight_decay(i, 4, settings) for i in range(4)]
    assert decays == pytest.approx([0.04, 0.092721, 0.22, 0.347279], abs=1e-6)


def test_lion_takes_steps_of_one_size():
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = Lion([parameter], lr=0.1)
    parameter.grad = torch.tensor([-2.0])
    optimizer.step()
    assert parameter.item() == pytest.approx(1.1)
    assert optimizer.state[parameter]["exp_avg"].item() == pytest.approx(-0.1)
    parameter.grad = torch.tensor([0.05])  # 0.9 x -0.1 + 0.1 x 0.05 < 0
    optimizer.param_groups[0]["weight_decay"] = 0.5
    optimizer.step()
    assert parameter.item() == pytest.approx(1.1 - 0.1 * (-1 + 0.5 * 1.1))


@pytest.mark.parametrize("target", [0, 3, 40, 128])
def test_blocks_hide_no_more_than_they_should(target):
    masks = [block_mask(16, target, np.random.default_rng(seed)) for seed in range(20)]
    counts = [mask.sum() for mask in masks]
    assert max(counts) <= target and (target < 4 or np.mean(counts) > 0.9 * target)
    assert len({mask.tobytes() for mask in masks}) > 10 or target == 0


def test_a_view_shows_its_share_of_the_crop_in_its_size():
    ramp = torch.arange(128.0).expand(2, 128, 128)  # each pixel holds its column
    for area, side in (((0.32, 1.0), 128), ((0.05, 0.32), 48)):
        shares = []
        for seed in range(60):
            view = random_view(ramp, side, area, np.random.default_rng(seed))
            assert view.shape == (2, side, side) and torch.equal(view[0], view[1])
            width = (view[0, 0, -1] - view[0, 0, 0]).item() * side / (side - 1)
            shares.append(width / 128)
        low, high = (math.sqrt(a) for a in area)
        assert low * 0.8 < min(shares) and max(shares) < min(1.02, high * 1.2)
    whole = random_view(ramp, 128, (1.0, 1.0), np.random.default_rng(9))
    assert augmented(whole, np.random.default_rng(0)).shape == (2, 128, 128)


def test_the_embedder_means_over_markers_and_projects_their_concatenation():
    rival = {"components": 2, "fit_niches": 10, "seed": 0}
    settings = {"crop": 32, "stride": 32, "batch": 2, "rival": rival}
    model = tiny()
    embedder = KronosEmbedder("kronos", model, ["A", "B", "H3"], settings)
    # The nucleus marker is not needed to read a panel (D10).
    assert embedder.usable(["B", "new", "A"]) == (
        [0, 2],
        "1 channels with a marker that training lacked",
    )
    images, panel = crops(4, 2).numpy(), ["B", "A"]
    image, origins = np.concatenate(list(images), axis=2), [(0, 32 * i) for i in range(4)]
    labels = np.zeros((32, 128), np.uint16)
    labels[8:16, 40:48] = 9
    assert embedder.embed(image, panel, origins, labels).niche is None
    embedder.fit([(images, panel)], panel)
    tokens = embedder.embed(image, panel, origins, labels)
    with torch.no_grad():
        _, direct = model(torch.tensor(images), torch.tensor([[1, 0]] * 4))
    np.testing.assert_allclose(tokens.patch, direct.mean(dim=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tokens.cells[0], direct[1].mean(dim=0)[1, 1], rtol=1e-4, atol=1e-5)
    features = direct.mean(dim=(2, 3)).flatten(1).numpy()
    wanted = embedder.projection.model.transform(features)
    np.testing.assert_allclose(tokens.niche, wanted, rtol=1e-3, atol=1e-4)
    assert tokens.niche.shape == (4, 2)
    assert embedder.embed(image, panel, [], None).niche.shape == (0, 2)
