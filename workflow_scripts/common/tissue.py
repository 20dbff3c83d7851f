"""Where there is tissue: Otsu's threshold on a smooth image of all channels, holes filled."""

import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter
from skimage.filters import threshold_otsu


def tissue_mask(image, sigma):
    """Return the tissue mask (bool [H, W]) of a raw image [C, H, W] (counts, not negative).

    The channels' log1p intensities are averaged, smoothed by a Gaussian of `sigma` pixels and cut
    at Otsu's threshold; holes in the tissue are filled. Where the mean is constant there is
    nothing to separate and the mask is empty. Source: the paper, "Dataset preprocessing", which
    names Otsu and hole filling; the mean, its logarithm and the Gaussian are ours.
    """
    mean = np.zeros(image.shape[1:], dtype=np.float64)
    for channel in image:
        # Background subtraction of an archive can leave small negative counts; log1p(-1) is -inf.
        mean += np.log1p(np.maximum(channel, 0, dtype=np.float32))
    mean /= max(len(image), 1)
    if sigma > 0:
        mean = gaussian_filter(mean, sigma)
    low, high = mean.min(), mean.max()
    # A Gaussian leaves rounding noise on a constant image; Otsu would split that noise.
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return np.zeros(mean.shape, dtype=bool)
    return binary_fill_holes(mean > threshold_otsu(mean))
