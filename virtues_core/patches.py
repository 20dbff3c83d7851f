"""Images to patches and back. A patch is flattened row by row."""

from torch import Tensor


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images [M, H, W] into patches [M, S, patch * patch], S positions in row-major order."""
    m, height, width = images.shape
    tiles = images.view(m, height // patch, patch, width // patch, patch)
    return tiles.transpose(2, 3).reshape(m, -1, patch * patch)


def unpatchify(patches: Tensor, rows: int, cols: int) -> Tensor:
    """Join patches [M, rows * cols, patch * patch] to images [M, rows * patch, cols * patch]."""
    m, _, pixels = patches.shape
    patch = round(pixels**0.5)
    tiles = patches.view(m, rows, cols, patch, patch)
    return tiles.transpose(2, 3).reshape(m, rows * patch, cols * patch)
