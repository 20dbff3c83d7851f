"""What KRONOS sees of a crop: two large views, several small ones, and which patches are hidden.

Shapes: M markers of a sample, S px a side of a crop, (G, G) patches of a large view.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from workflow_scripts.common.errors import InputError

ASPECT = (3 / 4, 4 / 3)  # of a view
BLOCK_ASPECT = (0.3, 1 / 0.3)  # of a block of hidden patches


@dataclass(frozen=True)
class Views:
    """A micro-batch of B samples with v small views each."""

    large: torch.Tensor  # [2, B, M, S, S]
    small: torch.Tensor  # [v, B, M, s, s]
    large_markers: torch.Tensor  # [2, B, M] marker ids
    small_markers: torch.Tensor  # [v, B, M]
    hidden: torch.Tensor  # [2, B, M, G, G] bool

    def to(self, device):
        """Return it on a device."""
        return Views(*(getattr(self, field.name).to(device) for field in fields(self)))


class ViewedCrops(Dataset):
    """Micro-batches by the numbers of their crops; views and masks are the same in every run."""

    def __init__(self, crops, nucleus, settings, patch):
        """`nucleus`: marker id that every sample has; `settings`: those of the rival."""
        self.crops, self.nucleus, self.settings, self.patch = crops, nucleus, settings, patch

    def __getitem__(self, numbers):
        """Return the Views of crops `numbers`, or the InputError that one of them raises."""
        try:
            samples = zip(*map(self.sample, numbers), strict=True)
            return Views(*(torch.stack(parts, dim=1) for parts in samples))
        except InputError as error:
            return error

    def choose(self, tissue, rng):
        """Return the channels that are read: the nucleus marker, then others at random."""
        # Modified forms share its accession; panels name the plain one first.
        nucleus = np.flatnonzero(tissue.ids == self.nucleus)[0]
        others = rng.permutation(np.delete(np.arange(len(tissue.ids)), nucleus))
        read = self.settings["markers"] - 1 if self.settings["same_markers"] else len(others)
        return np.concatenate([[nucleus], others[:read]])

    def sample(self, number):
        """Return the fields of Views for one crop, without their axis of samples."""
        image, tissue, keep = self.crops.read(number, self.choose)
        image, ids = torch.from_numpy(image).float(), torch.from_numpy(tissue.ids[keep])
        settings = self.settings
        rng = np.random.default_rng((self.crops.seed, number, 1))
        sizes = [(settings["large_view"], settings["large_area"])] * 2
        sizes += [(settings["small_view"], settings["small_area"])] * settings["small_views"]
        views, markers = [], []
        for side, area in sizes:
            others = 1 + rng.permutation(len(ids) - 1)[: settings["markers"] - 1]
            own = np.concatenate([[0], np.sort(others)])
            views.append(augmented(random_view(image[own], side, area, rng), rng))
            markers.append(ids[own])
        return (
            torch.stack(views[:2]),
            torch.stack(views[2:]),
            torch.stack(markers[:2]),
            torch.stack(markers[2:]),
            torch.stack([self.hidden(rng) for _ in range(2)]),
        )

    def hidden(self, rng):
        """Return which patches of a large view are hidden, [M, G, G]: none in every other view."""
        markers, grid = self.settings["markers"], self.settings["large_view"] // self.patch
        if rng.random() >= 0.5:
            return torch.zeros(markers, grid, grid, dtype=torch.bool)
        target = round(rng.uniform(*self.settings["hidden_share"]) * grid**2)
        if self.settings["joint_masks"]:
            masks = [block_mask(grid, target, rng)] * markers
        else:
            masks = [block_mask(grid, target, rng) for _ in range(markers)]
        return torch.from_numpy(np.stack(masks))


def random_view(image, side, area, rng):
    """Return a random window of an image [M, S, S], `area` (low, high) of it, resized to `side`."""
    height, width = image.shape[1:]
    for _ in range(10):
        pixels = rng.uniform(*area) * height * width
        aspect = math.exp(rng.uniform(*map(math.log, ASPECT)))
        h, w = round(math.sqrt(pixels / aspect)), round(math.sqrt(pixels * aspect))
        if 0 < h <= height and 0 < w <= width:
            break
    else:
        h, w = height, width
    row, col = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    window = image[None, :, row : row + h, col : col + w]
    resized = F.interpolate(
        window, (side, side), mode="bicubic", align_corners=False, antialias=True
    )
    return resized[0]


def augmented(view, rng):
    """Return a view [M, s, s] turned, flipped, and with intensities and sharpness changed.

    Gains and offsets are drawn for each marker; colours, grey and inversion mean nothing here.
    """
    view = torch.rot90(view, int(rng.integers(4)), dims=(1, 2))
    if rng.random() < 0.5:
        view = view.flip(2)
    if rng.random() < 0.8:
        gain, offset = (
            torch.tensor(rng.uniform(low, high, (len(view), 1, 1)), dtype=torch.float32)
            for low, high in ((0.6, 1.4), (-0.2, 0.2))
        )
        view = view * gain + offset
    return blurred(view, rng.uniform(0.1, 2.0)) if rng.random() < 0.5 else view


def blurred(view, sigma):
    """Return a view [M, s, s] after a Gaussian of `sigma` px, 9 px wide."""
    x = torch.arange(-4.0, 5.0)
    kernel = torch.exp(-(x**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(view[:, None], (4, 4, 4, 4), mode="reflect")
    rows = F.conv2d(padded, kernel.view(1, 1, 9, 1))
    return F.conv2d(rows, kernel.view(1, 1, 1, 9))[:, 0]


def block_mask(grid, target, rng):
    """Return [grid, grid] bool with up to `target` places hidden, in rectangles of 4 and more."""
    mask = np.zeros((grid, grid), dtype=bool)
    for _ in range(100):
        left = target - int(mask.sum())
        if left <= 0:
            break
        largest = min(left, grid**2 / 2)
        area = rng.uniform(min(4, largest), largest)
        aspect = math.exp(rng.uniform(*map(math.log, BLOCK_ASPECT)))
        h, w = (max(1, round(math.sqrt(area * a))) for a in (aspect, 1 / aspect))
        if h > grid or w > grid:
            continue
        row, col = int(rng.integers(grid - h + 1)), int(rng.integers(grid - w + 1))
        block = mask[row : row + h, col : col + w]
        if 0 < block.size - block.sum() <= left:
            block[:] = True
    return mask
