"""Images and masks in TIFF files, with their axes and numbers checked."""

import struct

import numpy as np
import tifffile

from workflow_scripts.cohorts.readers.archives import damaged
from workflow_scripts.common.errors import InputError


def read_stack(file, channels, pages=None):
    """Return the image [channels, H, W] float32 of a multi-page or multi-channel TIFF.

    Integers and floats of any width are read as they are. The channel axis is the one with as many
    entries as the panel has channels (`channels`); InputError if there is none. With `pages`
    (places from 0) those are taken, in that order, from a file that may have more.
    """
    array, axes = _read(file)
    if array.ndim == 2:
        array = array[None]
    _refuse_time(file, axes, array.shape)
    if array.ndim != 3:
        raise InputError(f"{file}: expected an image with three axes, found shape {array.shape}.")
    if pages is not None:
        array = np.moveaxis(array, -1, 0) if axes.endswith(("C", "S")) else array
        if len(array) <= max(pages):
            raise InputError(
                f"{file}: the image has {len(array)} pages and the panel names page "
                f"{max(pages) + 1}; correct the page column of the cohort file."
            )
        return np.ascontiguousarray(array[pages], dtype=np.float32)
    interleaved = axes.endswith(("C", "S")) and array.shape[-1] == channels
    if interleaved or (array.shape[0] != channels and array.shape[-1] == channels):
        array = np.moveaxis(array, -1, 0)
    if array.shape[0] != channels:
        raise InputError(
            f"{file}: the image has {array.shape[0]} channels and the panel names {channels}; "
            "correct the panel of the cohort file so that every channel has a row."
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def read_channels(files):
    """Return the image [C, H, W] float32 of TIFF files with one channel each, in their order."""
    planes = [_read(file)[0] for file in files]
    for file, plane in zip(files, planes, strict=True):
        if plane.ndim == 3:
            _refuse_time(file, _read(file)[1], plane.shape)
        if plane.shape != planes[0].shape or plane.ndim != 2:
            raise InputError(
                f"{file}: expected one channel of the size of {files[0].name}, "
                f"{planes[0].shape}, found {plane.shape}."
            )
    return np.stack(planes, dtype=np.float32, casting="unsafe")


def _refuse_time(file, axes, shape):
    """Raise InputError if an axis of more than one entry is time: it would pass for channels."""
    if "T" in axes:
        raise InputError(
            f"{file}: the image is a time series (axes {axes}, shape {shape}); expected one point "
            "in time with a page per channel: export one, or name the axis C if its entries are "
            "channels."
        )


def full_scaled(pixels, factor):
    """Return `pixels` times `factor` if they are fractions of 1, otherwise as they are."""
    is_fraction = pixels.max(initial=0) <= 1 and not np.array_equal(pixels, np.round(pixels))
    return pixels * pixels.dtype.type(factor) if is_fraction else pixels


def read_labels(file, factor=None, rank=False):
    """Return the instance mask [H, W] of a TIFF as integers, 0 = background.

    Labels that are fractions of 1 are multiplied by `factor`, where there is one. `rank` replaces
    each label by its place among the mask's labels, from 1.
    """
    array, _ = _read(file)
    if array.ndim != 2:
        raise InputError(f"{file}: expected a mask with two axes, found shape {array.shape}.")
    if factor is not None and not np.issubdtype(array.dtype, np.integer):
        scaled = full_scaled(array.astype(np.float64), factor)
        # A 16-bit fraction in float32 is back within 0.004 of its whole number.
        array = np.round(scaled) if np.abs(scaled - np.round(scaled)).max() < 0.01 else scaled
    array = _whole(array, file)
    if rank:
        labels, places = np.unique(array, return_inverse=True)
        array = (places + (labels[0] != 0)).reshape(array.shape)
    return array


def _whole(array, file):
    if np.issubdtype(array.dtype, np.integer):
        return array
    if not np.array_equal(array, np.round(array)):
        raise InputError(
            f"{file}: expected cell numbers, found fractions (up to {array.max():g}); write the "
            "mask as integers."
        )
    return array.astype(np.int64)


def _read(file):
    """Return the pixels of a TIFF without axes of length one, and the names of these axes."""
    try:
        with file.read() as stream, tifffile.TiffFile(stream) as tiff:
            if _next_page(tiff):
                raise ValueError(f"its page {len(tiff.pages) + 1} is missing")
            series = tiff.series[0]
            array = series.asarray(maxworkers=1)
            axes = "".join(a for a, side in zip(series.axes, array.shape, strict=True) if side > 1)
    except InputError:
        raise
    except Exception as error:  # tifffile and its codecs raise many kinds for a cut file
        raise damaged(file, error) from None
    return array.squeeze(), axes


def _next_page(tiff):
    """Return the offset that the last page found points to: 0 unless the file was cut."""
    layout, handle, page = tiff.tiff, tiff.filehandle, tiff.pages[-1]
    handle.seek(page.offset)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(page.offset + layout.tagnosize + tags * layout.tagsize)
    return struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))[0]
