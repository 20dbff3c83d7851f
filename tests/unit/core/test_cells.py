"""Cell tokens: the published numbers, the arithmetic by hand, and the borders."""

import numpy as np
import pytest
import torch

from virtues_core import CellPool, cell_tokens, encode_tiles, tile_origins


@pytest.fixture(scope="module")
def cells(shared):
    return dict(np.load(shared("golden/g4.npz")))


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_published_cell_tokens(golden, cells, batch):
    tile, stride = int(cells["tile_size"]), int(cells["stride"])
    image = torch.from_numpy(cells["image"])  # float16, as stored
    channels = torch.from_numpy(cells["channel_ids"])
    ids, tokens = cell_tokens(golden.model(), image, channels, cells["labels"], tile, stride, batch)
    assert ids.dtype == torch.int64
    np.testing.assert_array_equal(ids, cells["cell_ids"])
    np.testing.assert_allclose(tokens, cells["cell_tokens"], atol=2e-5, rtol=0)


def test_published_crops(golden, cells):
    tiles = encode_tiles(golden.model(), cells["image"], cells["channel_ids"], 64, 42)
    origins, summaries = (torch.cat(parts) for parts in zip(*tiles, strict=True))
    np.testing.assert_array_equal(origins, cells["crop_origins"])
    np.testing.assert_allclose(summaries, cells["crop_summary_tokens"], atol=2e-5, rtol=0)


def test_pool_by_hand():
    labels = np.zeros((4, 6), np.uint16)
    labels[0, 0:3] = 900  # two pixels in patch (0, 0), one in (0, 1) of the left crop
    labels[3, 5] = 7
    pool = CellPool(labels, width=1, patch=2)
    left, right = torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[10.0, 20], [30, 40]])
    pool.add(torch.tensor([[0, 0], [0, 2]]), torch.stack([left, right])[..., None])
    assert pool.ids.tolist() == [7, 900]
    # The third pixel of cell 900 is in both crops and counts twice.
    assert pool.tokens().flatten().tolist() == [40, (2 * 1 + 2 + 10) / 4]


def test_no_cells(small_model):
    ids, tokens = cell_tokens(
        small_model(), torch.zeros(2, 32, 32), torch.arange(2), np.zeros((32, 32), int), 32, 16
    )
    assert ids.dtype == torch.int64 and ids.shape == (0,)
    assert tokens.dtype == torch.float32 and tokens.shape == (0, 64)


def test_origins_cover_every_pixel_once_each():
    origins = tile_origins(150, 128, 64, 42).tolist()
    assert origins == [[y, x] for y in (0, 42, 84, 86) for x in (0, 42, 64)]
    assert tile_origins(64, 64, 64, 42).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    "shape, labels, stride, sentence",
    [
        ((2, 24, 40), (24, 40), 16, "24 x 40 pixels is smaller than a crop of 32 x 32"),
        ((2, 40, 40), (40, 40), 33, "the stride must be 1 to 32"),
        (
            (2, 40, 40),
            (40, 41),
            16,
            r"labels of \[40, 41\] pixels do not fit an image of \[40, 40\]",
        ),
    ],
)
def test_errors(small_model, shape, labels, stride, sentence):
    with pytest.raises(ValueError, match=sentence):
        cell_tokens(
            small_model(), torch.zeros(shape), torch.arange(2), np.ones(labels, int), 32, stride
        )


@pytest.mark.parametrize("labels", [np.full((8, 8), -1), np.ones((8, 8))])
def test_labels_must_be_counts(labels):
    with pytest.raises(ValueError, match="integers, 0"):
        CellPool(labels, width=4, patch=8)


def test_mode_and_gradients_are_left_alone(small_model):
    model = small_model().train()
    image, channels = torch.zeros(2, 32, 32), torch.arange(2)
    for _, summary in encode_tiles(model, image, channels, 32, 32):
        assert model.training and torch.is_grad_enabled() and not summary.requires_grad
    with pytest.raises(ValueError, match="channel id 99"):
        list(encode_tiles(model, image, torch.tensor([0, 99]), 32, 32))
    assert model.training
