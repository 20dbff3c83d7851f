"""Channel summary tokens, fine-tuned on the classes of tissues, and their maps."""

from itertools import count, islice

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from virtues_core import tile_origins
from workflow_scripts.common.device import check_bfloat16
from workflow_scripts.common.job import log


def fine_tune(summaries, head, crops, classes, settings, seed):
    """Train `summaries` and `head` on crops of tissues with a class; return the losses.

    `crops`: stream of training crops (common/crops.py) with `locate` and `tissue_ids`; `classes`:
    tissue id -> number of its class; `settings`: steps, batch, learning_rate, weight_decay. Every
    crop has the class of its tissue; the loss is the unweighted cross-entropy.
    """
    torch.manual_seed(seed)
    device = summaries.tokens.device
    check_bfloat16(device.type)
    weights = [summaries.tokens, *summaries.model.encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(
        weights, lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings["steps"])
    losses, stream = [], _labelled(crops, classes)
    summaries.train()
    for step in range(settings["steps"]):
        total = 0.0
        for images, ids, truth in _alike(islice(stream, settings["batch"])):
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                token, _ = summaries(images.to(device), ids.to(device))
                logits = head(token)
            loss = cross_entropy(logits.float(), truth.to(device), reduction="sum")
            (loss / settings["batch"]).backward()
            total += loss.item()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        losses.append(total / settings["batch"])
        if step % max(1, settings["steps"] // 10) == 0:
            log.info("step %d: loss %.3f", step, losses[-1])
    summaries.eval()
    return losses


def _labelled(crops, classes):
    """Yield (image [C, S, S], ids [C], class) of those crops whose tissue has a class."""
    for n in count():
        tissue = crops.tissue_ids[crops.locate(n)[1]]
        if tissue in classes:
            image, ids = crops[n]
            yield image.astype(np.float32), ids, classes[tissue]


def _alike(crops):
    """Yield (images [B, C, S, S], ids [B, C], classes [B]) of crops with as many channels."""
    parts = {}
    for image, ids, truth in crops:
        parts.setdefault(len(ids), []).append((image, ids, truth))
    for part in parts.values():
        yield tuple(torch.from_numpy(np.stack(column)) for column in zip(*part, strict=True))


def look(summaries, head, image, ids, tissue, settings, min_coverage):
    """Return class probabilities [K] and two attention maps of a tissue at patch resolution.

    `image` [C, H, W] with marker rows `ids` [C]; `tissue` [H, W] bool; `settings`: crop, stride in
    px and batch. The maps [2, H // patch, W // patch] are means over overlapping crops: of the
    weight towards each patch summary token, as a multiple of a flat map; and of the same over its
    mean at that place of a crop, since a place near the token is looked at whatever it shows.
    Probabilities are means over crops of which at least `min_coverage` is tissue; None without any.
    """
    side, patch = settings["crop"], summaries.model.config.patch
    device, weights, probabilities = summaries.tokens.device, [], []
    origins = tile_origins(*image.shape[1:], side, settings["stride"])
    windows = [np.s_[row : row + side, col : col + side] for row, col in origins.tolist()]
    for start in range(0, len(windows), settings["batch"]):
        part = windows[start : start + settings["batch"]]
        crops = torch.from_numpy(np.stack([image[:, *window] for window in part]))
        with torch.inference_mode():
            rows = torch.as_tensor(ids).expand(len(crops), -1)
            token, seen = summaries(crops.to(device), rows.to(device))
            shares = head(token).float().softmax(dim=-1).cpu().numpy()
        weights.append(seen.cpu().numpy())
        covered = [tissue[window].mean() >= min_coverage for window in part]
        probabilities += list(shares[covered])
    weights = np.concatenate(weights)
    kinds = (weights * weights[0].size, weights / weights.mean(axis=0))
    maps = np.stack([stitch(windows, kind, image.shape[1:], patch) for kind in kinds])
    return (np.mean(probabilities, axis=0) if probabilities else None), maps


def stitch(windows, values, shape, patch):
    """Return the mean [H // patch, W // patch] of overlapping grids `values` [n, G, K].

    `windows`: where each lies in an image of `shape`, px; they cover all of it, in any places.
    """
    sums, counts = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for window, value in zip(windows, values, strict=True):
        sums[window] += np.kron(value, np.ones((patch, patch), np.float32))
        counts[window] += 1
    rows, cols = (length // patch for length in shape)
    means = (sums / counts)[: rows * patch, : cols * patch]
    return means.reshape(rows, patch, cols, patch).mean(axis=(1, 3))


def attention_on(labels, kinds, attention, patch):
    """Return the mean attention on cells of some kinds over that on all other cells, or NaN.

    `labels`: instance mask [H, W]; `kinds` [ids + 1] bool: whether a cell is of those kinds, None
    if its type is not known; `attention` [G, K] at patch resolution.
    """
    height, width = (length * patch for length in attention.shape)
    pixels = np.kron(attention, np.ones((patch, patch), np.float32))
    labels = labels[:height, :width]
    kind = np.where(labels > 0, kinds[labels], -1)
    if not ((kind == 1).any() and (kind == 0).any()):
        return np.nan
    return float(pixels[kind == 1].mean() / pixels[kind == 0].mean())
