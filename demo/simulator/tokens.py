"""The same patients at token level: cells as vectors instead of pixels, hundreds of patients.

For tests of statistics, which need patients more than images. Patients, compositions, response,
survival and visits come from the same table and functions as those of the simulated archives; a
token is the sum of what its type, its niche and its patient add, and noise. Types and niches of one
name add the same in every cohort, so that what is learned on one cohort can be found in another.

    cohort = simulate_tokens(read_effects(), "wang2023", patients=300, cells=60, seed=0)
    cohort.tokens, cohort.cells, cohort.patients      # rows of tokens are rows of cells
    simulate_tokens(..., cut="outcomes")              # the same, but outcomes belong to nobody
"""

import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from demo.simulator.patients import at_visit, draw_patients, draw_survival

CUTS = (None, "outcomes", "labels")
SPACING = 12  # um between cells, on average
PATCHES = 3  # places in a tissue where a niche lies


@dataclass
class TokenCohort:
    """Simulated cells with their truth.

    tokens [cells, width] float32. cells, one row each: tissue_id, cell_id, patient_id, time (a
    visit, or None), x, y (um), niche, cell_type, category. patients: patient_id, the clinical
    attributes, and for each event of the cohort <event>_years and <event>_seen (bool).
    composition [patients, niches]: true shares of the area at the first visit.
    """

    tokens: np.ndarray
    cells: pd.DataFrame
    patients: pd.DataFrame
    composition: pd.DataFrame


def simulate_tokens(effects, name, patients, cells, seed, width=16, cut=None):
    """Draw `patients` patients of cohort `name` of the effects table, with `cells` cells a tissue.

    A patient has one tissue, or one per visit. `cut` breaks a link and leaves all else as it is,
    number for number: "outcomes" hands each patient's clinical row to another patient, "labels"
    each cell's type, category and niche to another cell. ValueError for another `cut`.
    """
    if cut not in CUTS:
        raise ValueError(f"cut={cut!r}, expected one of {CUTS}")
    section = effects["cohorts"][name]
    rng, outcome_rng, cut_rng = np.random.default_rng([seed, zlib.crc32(name.encode())]).spawn(3)
    people = draw_patients(rng, section, patients)
    ids = np.array([f"P{index:04d}" for index in range(patients)])
    batches = effects["tokens"]["patient"] * rng.standard_normal((patients, width))
    samples = [
        (i, *sample) for i in range(patients) for sample in _samples(rng, section, people[i])
    ]
    drawn = [_draw_cells(rng, section, sample, cells) for *_, sample in samples]
    table = _table(section, ids, samples, drawn)
    tokens = np.repeat(batches[[owner for owner, *_ in samples]], cells, axis=0)
    for kind, column in zip(("niche", "cell_type"), (0, 1), strict=True):
        names = list(section[f"{kind}s"])
        vectors = [effects["tokens"][kind] * direction(kind, value, width) for value in names]
        tokens += np.array(vectors)[np.concatenate([found[column] for found in drawn])]
    tokens = (tokens + rng.standard_normal(tokens.shape)).astype(np.float32)

    clinical = _clinical(outcome_rng, section, people)
    if cut == "outcomes":
        clinical = clinical.iloc[cut_rng.permutation(patients)].reset_index(drop=True)
    if cut == "labels":
        labels = ["niche", "cell_type", "category"]
        table[labels] = table[labels].to_numpy()[cut_rng.permutation(len(table))]
    clinical.insert(0, "patient_id", ids)
    composition = pd.DataFrame([person.niche_shares for person in people], index=ids)
    return TokenCohort(tokens, table, clinical, composition)


def direction(kind, name, width):
    """Return the unit vector [width] of a type or niche; it depends on its name alone."""
    vector = np.random.default_rng(zlib.crc32(f"{kind}/{name}".encode())).standard_normal(width)
    return vector / np.linalg.norm(vector)


def _samples(rng, section, person):
    """Return [(number, time, patient as sampled)]."""
    if "visits" not in section:
        return [(1, None, person)]
    times = enumerate(section["visits"]["values"], start=1)
    return [(number, time, at_visit(rng, section, person, time)) for number, time in times]


def _draw_cells(rng, section, sample, count):
    """Return niche and type (indices [count]) and places [count, 2] of the cells of a tissue.

    Niches are drawn by area and density, types by niche, places in a few patches per niche.
    """
    niches, types = list(section["niches"]), list(section["cell_types"])
    weight = np.array([sample.niche_shares[name] * _density(section, name) for name in niches])
    niche = rng.choice(len(niches), count, p=weight / weight.sum())
    shares = [[sample.type_shares[n].get(t, 0) for t in types] for n in niches]
    passed = rng.random(count)[:, None] >= np.cumsum(shares, axis=1)[niche]
    side = SPACING * np.sqrt(count)
    patches = rng.uniform(0, side, (len(niches), PATCHES, 2))
    places = patches[niche, rng.integers(0, PATCHES, count)] + rng.normal(0, side / 10, (count, 2))
    return niche, np.minimum(passed.sum(1), len(types) - 1), np.clip(places, 0, side)


def _table(section, ids, samples, drawn):
    """Return the table of cells from what was drawn for each tissue."""
    niche, kind, places = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    types = list(section["cell_types"])
    category = [section["cell_types"][name]["category"] for name in types]
    count = len(drawn[0][0])
    each = {
        "tissue_id": [f"{ids[owner]}_{number}" for owner, number, *_ in samples],
        "patient_id": [ids[owner] for owner, *_ in samples],
        "time": [time for _, _, time, _ in samples],
    }
    table = {name: np.repeat(np.array(values, object), count) for name, values in each.items()}
    table["cell_id"] = np.tile(np.arange(1, count + 1), len(drawn))
    table |= {"x": places[:, 0], "y": places[:, 1]}
    table["niche"] = np.array(list(section["niches"]), object)[niche]
    table["cell_type"] = np.array(types, object)[kind]
    table["category"] = np.array(category, object)[kind]
    return pd.DataFrame(table)


def _density(section, name):
    """Return how many cells an area of the niche holds, as in the images."""
    spec = section["niches"][name]
    return spec["density"] * (1 - spec.get("lumen", 0))


def _clinical(rng, section, people):
    table = pd.DataFrame([person.attributes for person in people])
    if "survival" in section:
        for event, (years, seen) in draw_survival(rng, section, people).items():
            table[f"{event}_years"], table[f"{event}_seen"] = years, seen
    return table
