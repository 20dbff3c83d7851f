"""A figure target on disk: picture, source data and numbers, the same bytes on every run."""

import json
import os
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import matplotlib.style

from workflow_scripts.common.numbers import check_numbers, not_run, number, read_numbers
from workflow_scripts.common.validation import read_yaml

__all__ = [
    "colour",
    "figsize",
    "inches",
    "not_run",
    "number",
    "read_numbers",
    "save_target",
    "scale_bar",
    "style",
]

matplotlib.use("Agg")  # jobs have no screen

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
STYLE = RESOURCES / "study.mplstyle"
PALETTE = read_yaml(RESOURCES / "palette.yaml")
WIDTHS = (60, 89, 183)  # mm: a single panel, a column, a page
METADATA = {".svg": {"Date": None, "Creator": None}, ".png": {"Software": None}}


def style():
    """Apply the study's matplotlib style to every figure made from here on."""
    matplotlib.style.use(STYLE)


def figsize(width, height):
    """Return matplotlib's `figsize` for a width of 60, 89 or 183 mm and any height in mm."""
    if width not in WIDTHS:
        raise ValueError(f"a panel is {WIDTHS} mm wide, not {width}")
    return inches(width), inches(height)


def inches(mm):
    """Return millimetres in inches, matplotlib's unit."""
    return mm / 25.4


def colour(kind, name):
    """Return the fixed colour of a name; `kind` is a section of resources/palette.yaml.

    A simulated cohort has the colour of the one it imitates; a name that the palette lacks has
    the colour of `other`.
    """
    colours = PALETTE[kind]
    return colours.get(name.removeprefix("sim_"), colours.get("other", "#999999"))


def save_target(folder, target, figure, source_data, numbers, caption, simulated, status="done"):
    """Write a target's svg, png, source_data.csv and numbers.json into `folder`.

    `figure` and `source_data` (a tidy DataFrame) may be None; whatever an earlier run left of
    them is then removed. Each file appears whole or not at all, numbers.json last.
    """
    folder = Path(folder)
    record = {
        "target": target,
        "simulated": bool(simulated),
        "picture": figure is not None,
        "status": status,
        "caption": caption,
        "numbers": dict(numbers),
    }
    path = folder / "numbers.json"
    check_numbers(record, path)
    folder.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    for suffix in METADATA:
        (folder / f"{target}{suffix}").unlink(missing_ok=True)
    (folder / "source_data.csv").unlink(missing_ok=True)
    if figure is not None:
        _save_picture(figure, folder / target, simulated)
    if source_data is not None:
        with _replacing(folder / "source_data.csv") as part:
            source_data.to_csv(part, index=False, float_format="%.8g", lineterminator="\n")
    with _replacing(path) as part:
        text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")


def scale_bar(axis, um_per_pixel=1.0, length=None, colour="white"):
    """Draw a scale bar with its length in um in the lower right of a tissue picture.

    `length` (um) defaults to the round number nearest below a third of the picture's width. On a
    ground of its own, white on black or black on white, it is read over any tissue. Returns the
    length.
    """
    left, right = sorted(axis.get_xlim())
    bottom, top = sorted(axis.get_ylim())
    width, height = right - left, top - bottom
    if length is None:
        steps = [s * 10**k for k in range(5) for s in (1, 2, 5)]
        length = max((s for s in steps if s <= width * um_per_pixel / 3), default=steps[0])
    upright = axis.get_ylim()[0] < axis.get_ylim()[1]
    x = right - 0.05 * width
    y = bottom + 0.06 * height if upright else top - 0.06 * height
    pixels = length / um_per_pixel
    ground = "white" if colour == "black" else "black"
    axis.plot([x - pixels, x], [y, y], color=ground, lw=2.6, solid_capstyle="projecting")
    axis.plot([x - pixels, x], [y, y], color=colour, lw=1.2, solid_capstyle="butt")
    axis.annotate(
        f"{length:g} µm",
        (x - pixels / 2, y),
        xytext=(0, 2.5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=colour,
        fontsize=5,
        bbox={"facecolor": ground, "alpha": 0.7, "lw": 0, "pad": 0.6},
    )
    return length


def _save_picture(figure, stem, simulated):
    word = _mark_simulated(figure) if simulated else None
    _settle_layout(figure)
    try:
        with matplotlib.style.context(STYLE):  # svg.hashsalt and fonttype act when saving
            for suffix, metadata in METADATA.items():
                with _replacing(stem.parent / f"{stem.name}{suffix}") as part:
                    figure.savefig(part, format=suffix[1:], metadata=metadata, bbox_inches=None)
    finally:
        if word is not None:
            word.remove()


def _settle_layout(figure):
    """Fix where the layout puts the axes, to a millionth of the figure.

    Its solver's last digits depend on memory addresses, and svg names clip paths after them.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        left, bottom, width, height = axis.get_position(original=True).bounds
        axis.set_position([round(side, 6) for side in (left, bottom, width, height)])


def _mark_simulated(figure):
    margin = inches(2.4) / figure.get_figheight()
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, margin, 1, 1 - margin))
    return figure.text(
        0.995, 0.1 * margin, "simulated", ha="right", va="bottom", fontsize=5, color="#8a8a8a"
    )


@contextmanager
def _replacing(path):
    """Give a temporary sibling that replaces `path` when the block ends well."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
