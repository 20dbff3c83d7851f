"""Small archives in the published layouts of the cohorts, as the data sheets describe them."""

import io
import tarfile
import zipfile

import numpy as np
import tifffile


def tiff(array):
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric="minisblack")
    return file.getvalue()


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            content = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def stack(channels, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).poisson(3, (channels, 12, 10)).astype(dtype)


def plane(seed=0):
    return stack(1, seed)[0]


def mask(*labels, dtype=np.uint16):
    """Return a mask [12, 10] whose cells are bars of two rows, their centres at (2, 2 i + 0.5)."""
    array = np.zeros((12, 10), dtype)
    for row, label in enumerate(labels):
        array[2 * row : 2 * row + 2, 1:4] = label
    return array


def acquisition_text(image, metals):
    """Return the .txt file of an image [C, H, W], one shot per row, labels cut short."""
    names = "\t".join(f"Label_{i}({metal}Di)" for i, metal in enumerate(metals))
    lines = [f"Start_push\tEnd_push\tPushes_duration\tX\tY\tZ\t{names}"]
    for index, (y, x) in enumerate(np.ndindex(image.shape[1:])):
        values = "\t".join(f"{value:.3f}" for value in image[:, y, x])
        lines.append(f"{index}\t{index}\t384\t{x}\t{y}\t{index}\t{values}")
    return "\n".join(lines) + "\n"
