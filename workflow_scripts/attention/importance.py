"""How important each marker is, from the attention that it receives (Methods, D17)."""

import numpy as np
import torch

from virtues_core import pack
from virtues_core.inspection import encode_with_marker_attention

SCORINGS = ("as_printed", "over_targets")
FLAT = 1e-6  # spread, relative to the largest weight, that is rounding


def importance(received, scoring):
    """Return the importance [C] of each marker, at most heads x C.

    `received` [H, C, C]: weights summed over positions, from the marker of a row to that of a
    column. They are scaled to 0..1 and summed over heads and rows. `as_printed` scales each column,
    over the markers that attend, so that how much a marker receives in all cancels; `over_targets`
    scales each row, over the markers attended to. What is constant tells nothing apart: 0.
    """
    axis = {"as_printed": 1, "over_targets": 2}[scoring]
    low, high = received.min(axis, keepdims=True), received.max(axis, keepdims=True)
    flat = high - low <= FLAT * high
    scaled = (received - low) / np.where(flat, 1.0, high - low)
    return np.where(flat, 0.0, scaled).sum(axis=(0, 1))


def received_attention(model, image, ids, origins, side, batch):
    """Return `received` [H, C, C] float64 of the crops of `side` px at `origins` [n, 2].

    `image` [C, H, W] with the marker rows `ids` [C]; `batch` crops are encoded together.
    """
    device = next(model.parameters()).device
    total = torch.zeros(model.config.heads, len(ids), len(ids), dtype=torch.float64)
    for start in range(0, len(origins), batch):
        crops = [
            torch.from_numpy(image[:, row : row + side, col : col + side]).to(device)
            for row, col in origins[start : start + batch]
        ]
        packed = pack(crops, [torch.as_tensor(ids)] * len(crops), patch=model.config.patch)
        with torch.inference_mode():
            _, weights = encode_with_marker_attention(model, packed)
        total += torch.stack([crop.sum(dim=0) for crop in weights]).sum(dim=0).double().cpu()
    return total.numpy()


def over_cohort(parts):
    """Return (markers, received) summed over tissues, of the markers that all of them have.

    `parts`: (markers, received) of each tissue.
    """
    shared = [m for m in parts[0][0] if all(m in markers for markers, _ in parts)]
    total = np.zeros((parts[0][1].shape[0], len(shared), len(shared)))
    for markers, received in parts:
        places = [markers.index(marker) for marker in shared]
        total += received[:, places][:, :, places]
    return shared, total


def advantage(values, named):
    """Return the chance that a named marker is above another one: 1 highest, 0.5 as any.

    `values` [C]; `named` [C] bool. NaN where all or none are named.
    """
    ours, others = values[named][:, None], values[~named]
    if ours.size == 0 or others.size == 0:
        return np.nan
    return float((ours > others).mean() + (ours == others).mean() / 2)
