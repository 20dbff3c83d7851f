"""From counts to what the model sees: clip, log1p, blur and standardise, channel by channel.

One channel at a time keeps the working set in the processor's cache and the memory at little more
than the image itself; `tests/unit/preprocess` holds the same in four whole-array lines.
Shapes: image [C, H, W] float32, tissue [H, W] bool. Order of the steps and the kernel follow the
paper ("Dataset preprocessing"); means and standard deviations are those after clip and log1p and
before the blur, as in the statistics that the authors publish.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class ImageStatistics:
    """What one image contributes to its cohort, per channel [C]."""

    quantiles: np.ndarray  # counts, float32
    count: int | np.ndarray  # pixels behind the following; [C] where a channel has none
    means: np.ndarray  # of log1p of clipped counts, float64
    deviations: np.ndarray  # sum of squared deviations from that mean
    lowest: np.ndarray
    highest: np.ndarray


def upper_quantile(values, quantile):
    """Return the `quantile` of a flat array, interpolated linearly; 0 for an empty array."""
    if values.size == 0:
        return 0.0
    place = quantile * (values.size - 1)
    below = math.floor(place)
    # One partition and a minimum: asking partition for two places costs ten times as much.
    parted = np.partition(values, below)
    low = float(parted[below])
    if place == below:
        return low
    return low + (place - below) * (float(parted[below + 1 :].min()) - low)


def image_statistics(image, tissue, clip_quantile, quantile_over, statistics_over):
    """Measure one image [C, H, W]: clip quantiles, and the moments after clip and log1p.

    `quantile_over` is tissue, positive (pixels above 0 of the whole image) or all;
    `statistics_over` is tissue or all. An image without any tissue pixel is clipped by its own
    quantile over all pixels and adds nothing to statistics over tissue.
    """
    inside = np.flatnonzero(tissue)
    everywhere = inside.size == tissue.size
    channels = len(image)
    quantiles = np.empty(channels, dtype=np.float32)
    means, deviations = np.zeros(channels), np.zeros(channels)
    lowest, highest = np.full(channels, np.inf), np.full(channels, -np.inf)
    count = inside.size if statistics_over == "tissue" else tissue.size
    for c, channel in enumerate(image.reshape(channels, -1)):
        pixels = channel if everywhere else channel.take(inside)
        if quantile_over == "positive":
            ranked = channel[channel > 0]
        elif quantile_over == "tissue" and pixels.size:
            ranked = pixels
        else:
            ranked = channel
        quantiles[c] = max(upper_quantile(ranked, clip_quantile), 0.0)
        if count == 0:
            continue
        logs = _clipped_log(channel if statistics_over == "all" else pixels, quantiles[c])
        lowest[c], highest[c] = logs.min(), logs.max()
        means[c] = logs.mean(dtype=np.float64)
        centred = np.subtract(logs, means[c], dtype=np.float64)
        deviations[c] = np.square(centred, out=centred).sum()
    return ImageStatistics(quantiles, count, means, deviations, lowest, highest)


def cohort_moments(statistics, channels):
    """Pool `ImageStatistics` into means and standard deviations [C] over all their pixels.

    Sums over images are exact (`math.fsum`), so neither their order nor the number of processes
    changes a bit. NaN where there is no pixel.
    """
    counts = [np.broadcast_to(image.count, channels).tolist() for image in statistics]
    means, stds = np.full(channels, np.nan), np.full(channels, np.nan)
    for c in range(channels):
        images = [
            (n[c], i.means[c], i.deviations[c]) for n, i in zip(counts, statistics, strict=True)
        ]
        total = sum(count for count, _, _ in images)
        if total == 0:
            continue
        means[c] = math.fsum(count * mean for count, mean, _ in images) / total
        within = math.fsum(deviation for _, _, deviation in images)
        between = math.fsum(count * (mean - means[c]) ** 2 for count, mean, _ in images)
        stds[c] = math.sqrt((within + between) / total)
    return means, stds


def without_channels(statistics, absent):
    """Return the `ImageStatistics` of an image as if its `absent` channels [C] (bool) were not."""
    return replace(
        statistics,
        quantiles=np.where(absent, np.float32(np.nan), statistics.quantiles),
        count=np.where(absent, 0, statistics.count),
        means=np.where(absent, 0.0, statistics.means),
        deviations=np.where(absent, 0.0, statistics.deviations),
        lowest=np.where(absent, np.inf, statistics.lowest),
        highest=np.where(absent, -np.inf, statistics.highest),
    )


def constant_channels(statistics, channels):
    """Return which channels [C] (bool) have one single value in all images, after the clip."""
    lowest = np.min([image.lowest for image in statistics], axis=0, initial=np.inf)
    highest = np.max([image.highest for image in statistics], axis=0, initial=-np.inf)
    return np.broadcast_to(lowest == highest, channels)


def gaussian_kernel(size, sigma):
    """Return `size` (odd) normalised samples of a Gaussian at whole pixels, as torchvision does."""
    places = np.arange(size) - size // 2
    weights = np.exp(-0.5 * (places / sigma) ** 2)
    return weights / weights.sum()


def standardise(image, quantiles, means, stds, kernel, channels):
    """Clip, log1p, blur and standardise `channels` of `image`; return float16 [M, H, W].

    The image is consumed: the result lies in the first part of its memory, so that nothing but
    three channels is allocated. `image` must be C-contiguous float32; `quantiles`, `means` and
    `stds` [C] are indexed like the image, `channels` ascends. The border is reflected without
    repeating the edge pixel. Results beyond the range of float16 are cut to it.
    """
    _, height, width = image.shape
    half = len(kernel) // 2
    # float16 of channel m ends at or before float32 of channel m begins, and a channel has left
    # for the scratch array before anything is written: no unread pixel is overwritten.
    size = len(channels) * height * width
    result = image.reshape(-1).view(np.float16)[:size].reshape(-1, height, width)
    padded = np.empty((height + 2 * half, width + 2 * half), dtype=np.float32)
    middle = padded[half : half + height, half : half + width]
    rows = np.empty((height, width + 2 * half), dtype=np.float32)
    scratch = np.empty_like(rows)
    for place, c in enumerate(channels):
        _clipped_log(image[c], quantiles[c], out=middle)
        _reflect(padded, half)
        _blur(padded, kernel, rows, scratch)
        # Standardising is linear: the scale goes into the second kernel, the shift follows.
        blurred = scratch[:, :width]
        _blur(rows.T, kernel / stds[c], blurred.T, padded[:height, :width].T)
        blurred -= np.float32(means[c] / stds[c])
        np.clip(blurred, -FLOAT16_MAX, FLOAT16_MAX, out=result[place], casting="same_kind")
    return result


def _clipped_log(counts, quantile, out=None):
    # Below 0 is noise of an archive's background subtraction, where log1p is not defined.
    logs = np.clip(counts, np.float32(0), np.float32(quantile), out=out)
    return np.log1p(logs, out=logs)


def _reflect(padded, half):
    """Fill a border of `half` pixels by the pixels mirrored at the edge of the middle."""
    for step in range(1, half + 1):
        padded[half - step] = padded[half + step]
        padded[-half - 1 + step] = padded[-half - 1 - step]
    for step in range(1, half + 1):
        padded[:, half - step] = padded[:, half + step]
        padded[:, -half - 1 + step] = padded[:, -half - 1 - step]


def _blur(source, kernel, out, scratch):
    """Weight rows of `source` [n + 2 half, ...] into `out` [n, ...]; the kernel is symmetric."""
    half, length = len(kernel) // 2, len(out)
    np.multiply(source[half : half + length], np.float32(kernel[half]), out=out)
    for step in range(1, half + 1):
        np.add(
            source[half - step : half - step + length],
            source[half + step : half + step + length],
            out=scratch,
        )
        scratch *= np.float32(kernel[half + step])
        out += scratch
