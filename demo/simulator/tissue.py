"""One tissue: niches from smooth random fields, cells placed by niche, counts per channel.

Axes: y, x in pixels of 1 um. Every function draws only from the generator it is given.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom
from scipy.special import ndtr

COARSE = 4  # smooth fields are drawn on a grid of this spacing and interpolated
PACKING = 0.6  # random placing with minimum distance d reaches about this many points per d^2
TERRITORY = 0.6  # correlation of a cell's type with the smooth field of territories in a niche
TERRITORY_SCALE = 40  # um, size of the territories
MIN_AREA = 12  # a cell of fewer visible pixels is covered by its neighbours and is dropped


@dataclass
class Tissue:
    """A simulated tissue and everything that is true about it.

    image [C, H, W] uint16 counts; cell_mask and nucleus_mask [H, W] uint16 with label 1..n (0
    outside); niche_map [H, W] int, index into `niches`, -1 without tissue; per cell (row = label
    - 1): types, cell_niches (names) and aggregate (bool: hit by a clump of antibody).
    """

    image: np.ndarray
    cell_mask: np.ndarray
    nucleus_mask: np.ndarray
    niche_map: np.ndarray
    niches: list
    types: list
    cell_niches: list
    aggregate: np.ndarray


def simulate_tissue(rng, shape, cells, cohort, measurement, niche_shares, type_shares):
    """Draw one tissue of `shape` (H, W) with at most `cells` cells.

    `cohort` and `measurement` are sections of the effects table; `niche_shares` {niche: share} and
    `type_shares` {niche: {cell type: share}} are the composition of the patient.
    """
    niches = list(cohort["niches"])
    specs = [cohort["niches"][name] for name in niches]
    niche_map, lumen = draw_niches(rng, shape, specs, [niche_shares[name] for name in niches])
    density = np.array([spec["density"] for spec in specs] + [0.0])[niche_map] * ~lumen
    centres = place_cells(rng, density, cells)
    cell_niches = [niches[niche_map[y, x]] for y, x in centres]
    types = choose_types(rng, shape, centres, [type_shares[name] for name in cell_niches])

    phase = 4 * smooth_field(rng, shape, 30)  # its level lines are the fibres of the stroma
    shapes = cell_shapes(rng, centres, [cohort["cell_types"][name] for name in types], phase)
    cell_mask, inner, gap, kept = rasterise(rng, shape, centres, shapes)
    types = [types[i] for i in kept]
    cell_niches = [cell_niches[i] for i in kept]

    nucleus_of = np.array([1.0] + [shapes[i]["nucleus"] for i in kept])
    parts = localise(rng, cell_mask, inner, gap, nucleus_of)
    expected = expected_counts(
        rng, cohort, measurement, cell_mask, parts, types, niche_map, lumen, phase
    )
    image, aggregate = measure(rng, expected, cohort["panel"], measurement, cell_mask)
    nucleus_mask = np.where(inner < nucleus_of[cell_mask], cell_mask, 0).astype(np.uint16)
    return Tissue(image, cell_mask, nucleus_mask, niche_map, niches, types, cell_niches, aggregate)


def smooth_field(rng, shape, scale):
    """Return a Gaussian random field [H, W] of mean 0, sd 1 and correlation length `scale` px."""
    coarse = [size // COARSE + 2 for size in shape]
    field = gaussian_filter(rng.standard_normal(coarse), scale / COARSE / 2, mode="reflect")
    field = zoom(field, COARSE, order=1, grid_mode=True, mode="nearest")[: shape[0], : shape[1]]
    return (field - field.mean()) / field.std()


def draw_niches(rng, shape, specs, shares):
    """Return the niche of every pixel [H, W] (-1 = no tissue) and where lumens are (bool).

    Each pixel belongs to the niche whose field is highest; constants added to the fields are
    tuned until the areas equal `shares`.
    """
    fields = np.stack([smooth_field(rng, shape, spec["scale"]) for spec in specs])
    rows, columns = np.mgrid[: shape[0], : shape[1]] / max(shape)
    angle = rng.uniform(0, 2 * np.pi)
    edge = smooth_field(rng, shape, 80) + 6 * (rows * np.sin(angle) + columns * np.cos(angle))
    tissue = edge < np.quantile(edge, 0.9)

    sample = fields[:, ::COARSE, ::COARSE][:, tissue[::COARSE, ::COARSE]]
    offsets = np.zeros(len(specs))
    for _ in range(60):
        areas = np.bincount((sample + offsets[:, None]).argmax(0), minlength=len(specs))
        offsets += 0.4 * np.log(np.asarray(shares) / ((areas + 1) / (areas.sum() + len(specs))))
    fields += offsets[:, None, None]
    niche_map = np.where(tissue, fields.argmax(0), -1)

    top_two = np.partition(fields, -2, axis=0)[-2:]
    depth = top_two[1] - top_two[0]
    lumen = ~tissue
    for index, spec in enumerate(specs):
        inside = niche_map == index
        if spec.get("lumen") and inside.any():
            lumen |= inside & (depth > np.quantile(depth[inside], 1 - spec["lumen"]))
    return niche_map, lumen


def place_cells(rng, density, cells):
    """Return centres (y, x) of at most `cells` cells; they keep a distance that density sets."""
    weight = density.ravel() / density.sum()
    with np.errstate(divide="ignore"):
        spacing = np.sqrt(PACKING / (cells * weight))
    candidates = rng.choice(weight.size, size=25 * cells, p=weight)
    centres = np.stack(np.unravel_index(candidates, density.shape), axis=1)
    accepted = np.empty((cells, 3))
    count = 0
    for (y, x), own in zip(centres, spacing[candidates], strict=True):
        near = accepted[:count]
        squared = (near[:, 0] - y) ** 2 + (near[:, 1] - x) ** 2
        if np.all(squared >= ((near[:, 2] + own) / 2) ** 2):
            accepted[count] = y, x, own
            count += 1
            if count == cells:
                break
    return accepted[:count, :2].astype(int)


def choose_types(rng, shape, centres, shares):
    """Return a type per cell, drawn from its {type: share}; types form territories in a niche.

    The draw is a quantile that follows a smooth field in part, so neighbours tend to agree while
    the expected composition stays as given.
    """
    field = smooth_field(rng, shape, TERRITORY_SCALE)[tuple(centres.T)]
    own = rng.standard_normal(len(centres))
    quantiles = ndtr(TERRITORY * field + np.sqrt(1 - TERRITORY**2) * own)
    return [
        list(share)[min(np.searchsorted(np.cumsum(list(share.values())), q), len(share) - 1)]
        for share, q in zip(shares, quantiles, strict=True)
    ]


def cell_shapes(rng, centres, specs, phase):
    """Return one ellipse per cell: half axes, angle of the long one, nucleus fraction.

    Long cells lie along the fibres (level lines of `phase`), round ones anyhow.
    """
    slope_y, slope_x = np.gradient(phase)
    shapes = []
    for (y, x), spec in zip(centres, specs, strict=True):
        radius = spec["radius"] * np.exp(0.1 * rng.standard_normal())
        stretch = np.sqrt(spec.get("elongation", rng.uniform(1, 1.3)))
        along = np.arctan2(slope_x[y, x], -slope_y[y, x])
        shapes.append(
            {
                "long": radius * stretch,
                "short": radius / stretch,
                "angle": along if "elongation" in spec else rng.uniform(0, np.pi),
                "nucleus": spec.get("nucleus", 0.5),
            }
        )
    return shapes


def rasterise(rng, shape, centres, shapes):
    """Draw the cells: (cell_mask, inner, gap, kept).

    inner [H, W]: 0 at the centre of the pixel's cell, 1 at the ellipse's border; gap [H, W]: how
    far the next border is in the same unit (the ellipse's or where a neighbour is met); kept:
    indices of the cells that are visible, in the order of their labels 1..n.
    """
    first = np.full(shape, 9.0)
    second = np.full(shape, 9.0)
    owner = np.zeros(shape, int)
    wobble = [1.5 * smooth_field(rng, shape, 9) for _ in range(2)]  # no cell is an ellipse
    rows, columns = np.mgrid[: shape[0], : shape[1]] + np.stack(wobble)
    for index, ((y, x), cell) in enumerate(zip(centres, shapes, strict=True), start=1):
        reach = int(cell["long"]) + 7
        box = np.s_[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        dy, dx = rows[box] - y - wobble[0][y, x], columns[box] - x - wobble[1][y, x]
        cosine, sine = np.cos(cell["angle"]), np.sin(cell["angle"])
        distance = np.hypot(
            (dx * cosine + dy * sine) / cell["long"], (dy * cosine - dx * sine) / cell["short"]
        )
        closer = distance < first[box]
        second[box] = np.where(closer, first[box], np.minimum(second[box], distance))
        owner[box][closer] = index
        first[box][closer] = distance[closer]
    owner[first >= 1] = 0
    area = np.bincount(owner.ravel(), minlength=len(shapes) + 1)
    kept = [i for i in range(len(shapes)) if area[i + 1] >= MIN_AREA]
    relabel = np.zeros(len(shapes) + 1, np.uint16)
    relabel[[i + 1 for i in kept]] = np.arange(1, len(kept) + 1)
    cell_mask = relabel[owner]
    inner = np.where(cell_mask > 0, first, 1.0)
    gap = np.where(cell_mask > 0, np.minimum(1 - first, second - first), 0.0)
    return cell_mask, inner, gap, kept


def localise(rng, cell_mask, inner, gap, nucleus_of):
    """Return the weight 0..1 of every pixel [H, W] for nucleus, membrane and cytoplasm."""
    inside = cell_mask > 0
    nucleus = inside / (1 + np.exp((inner - nucleus_of[cell_mask]) / 0.06))
    texture = np.clip(1 + 0.25 * gaussian_filter(rng.standard_normal(inner.shape), 1) / 0.28, 0, 2)
    # A section of 1 um through a cell: some membrane and cytoplasm lies over the nucleus.
    return {
        "nucleus": nucleus * (0.5 + 0.5 * texture),
        "membrane": inside * (0.25 + 0.75 * np.exp(-((gap / 0.25) ** 2))),
        "cytoplasm": inside * (1 - 0.65 * nucleus) * texture,
    }


def expected_counts(rng, cohort, measurement, cell_mask, parts, types, niche_map, lumen, phase):
    """Return the mean counts [C, H, W] before they are measured; noise channels stay at zero."""
    tissue = (niche_map >= 0) & ~lumen
    fibres = 0.35 + 0.65 * (0.5 + 0.5 * np.cos(2 * np.pi * phase)) ** 2
    field = smooth_field(rng, cell_mask.shape, 45)
    brightness = np.exp(measurement["cell_spread"] * rng.standard_normal(len(types)))
    expected = np.zeros((len(cohort["panel"]), *cell_mask.shape))
    for image, entry in zip(expected, cohort["panel"], strict=True):
        marker = entry["marker"]
        scale = np.exp(measurement["staining_spread"] * rng.standard_normal())
        spread = np.exp(measurement["marker_spread"] * rng.standard_normal(len(types)))
        if entry["where"] == "noise":
            continue
        everywhere = measurement["nuclear"].get(marker, 0)
        peaks = [cohort["cell_types"][t]["markers"].get(marker, everywhere) for t in types]
        matrix = [spec["matrix"].get(marker, 0) for spec in cohort["niches"].values()]
        image += np.append(0, peaks * brightness * spread)[cell_mask] * parts[entry["where"]]
        image += np.array([*matrix, 0])[niche_map] * fibres * (tissue & (cell_mask == 0))
        image *= scale * np.exp(cohort["gradients"].get(marker, 0) * field)
        image += measurement["unspecific"] * (tissue | (cell_mask > 0))
    return expected


def measure(rng, expected, panel, measurement, cell_mask):
    """Return Poisson counts [C, H, W] uint16 and, per cell, whether a clump of antibody hit it."""
    background = [
        measurement["noise" if entry["where"] == "noise" else "background"] for entry in panel
    ]
    blurred = gaussian_filter(expected, (0, measurement["blur"], measurement["blur"]))
    counts = rng.poisson(blurred + np.reshape(background, (-1, 1, 1)))

    hot = rng.random(counts.shape, dtype=np.float32) < measurement["hot_pixels"]
    counts[hot] = rng.integers(50, 201, hot.sum())

    stained = [i for i, entry in enumerate(panel) if entry["where"] in ("membrane", "cytoplasm")]
    y, x = rng.integers(8, np.array(cell_mask.shape) - 8)
    rows, columns = np.ogrid[: cell_mask.shape[0], : cell_mask.shape[1]]
    clump = np.hypot(rows - y, columns - x) < 3
    counts[rng.choice(stained)][clump] = rng.poisson(measurement["aggregate"], clump.sum())
    aggregate = np.isin(np.arange(1, cell_mask.max() + 1), cell_mask[clump])
    return counts.astype(np.uint16), aggregate
