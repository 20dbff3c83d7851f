"""The VirTues model: a masked autoencoder over the channels of multiplexed tissue images.

The package holds the model and its attention backends, and nothing of the study around it.
"""

from virtues_core.cells import CellPool, cell_tokens, encode_tiles, tile_origins
from virtues_core.config import VirTuesConfig
from virtues_core.grouped import loss_backward
from virtues_core.loss import loss, squared_error_sum
from virtues_core.masking import independent_mask, marker_mask, niche_mask
from virtues_core.model import Output, VirTues
from virtues_core.packing import Packed, pack
from virtues_core.weights import load_weights, save_weights

__all__ = [
    "CellPool",
    "Output",
    "Packed",
    "VirTues",
    "VirTuesConfig",
    "cell_tokens",
    "encode_tiles",
    "independent_mask",
    "load_weights",
    "loss",
    "loss_backward",
    "marker_mask",
    "niche_mask",
    "pack",
    "save_weights",
    "squared_error_sum",
    "tile_origins",
]
