"""One simulated cohort: patients, their tissues, and the archive that publishes them."""

import zlib
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from demo.simulator import (
    allam2022,
    cords2023,
    cords2024,
    damond2019,
    danenberg2022,
    hoch2022,
    hu2023,
    immucan2024,
    jackson2020,
    meyer2025,
    moldoveanu2022,
    rigamonti,
    schulz2018,
    wang2023,
    zhu2025,
)
from demo.simulator.patients import Patient, at_visit, draw_patients, follow_first, stained
from demo.simulator.tissue import Tissue, simulate_tissue
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.validation import parse_yaml

EFFECTS = Path(__file__).with_name("effects.yaml")
MODULES = (
    danenberg2022,
    cords2024,
    wang2023,
    hoch2022,
    damond2019,
    rigamonti,
    meyer2025,
    jackson2020,
    moldoveanu2022,
    cords2023,
    hu2023,
    schulz2018,
    zhu2025,
    allam2022,
    immucan2024,
)
LAYOUTS = {module.__name__.rpartition(".")[2]: module for module in MODULES}
UNDERSIZED = (200, 240)  # sides in px of a tissue that is too small for a sub-image of 256 px


@dataclass
class SimulatedCohort:
    """Patients and tissues; `owners` [tissue] is the patient's index.

    `samples` [tissue] is the patient as sampled for it: its composition, and at which time.
    `unimaged` patients have a clinical row and no tissue, `unpublished` tissues (of the first
    patient) are no tissue of the cohort, although the archive has some of their files: real
    archives hold some of both. `rng` is for what the archive adds: survival, and variables without
    a planted effect.
    """

    patients: list[Patient]
    tissues: list[Tissue]
    owners: list[int]
    samples: list[Patient]
    unimaged: list[Patient]
    unpublished: list[Tissue]
    rng: np.random.Generator


def read_effects(path=EFFECTS):
    """Return the table of planted effects."""
    return parse_yaml(Path(path).read_text())


def layout_of(cohort_id):
    """Return the writer of an embedded cohort: the module of the layout in `sim_<layout>`."""
    name = cohort_id.removeprefix("sim_")
    if name not in LAYOUTS or name == cohort_id:
        known = ", ".join(f"sim_{layout}" for layout in LAYOUTS)
        raise InputError(
            f"cohorts: '{cohort_id}' cannot be simulated; expected one of {known}, correct its id."
        )
    return LAYOUTS[name]


def section_of(cohort_id, effects):
    """Return what the effects table says about an embedded cohort."""
    return effects["cohorts"][cohort_id.removeprefix("sim_")]


def sized(cohort_id, settings):
    """Return the settings of one cohort: those of `small` come before the others' in its list.

    A cohort of `patients_of` has its own number of patients.
    """
    small = settings.get("small", {"cohorts": []})
    own = settings | small if cohort_id in small["cohorts"] else settings
    return own | {"patients": settings.get("patients_of", {}).get(cohort_id, own["patients"])}


def plan_tissues(section, patients, tissues):
    """Return (owner, time) of each tissue; the time is None for a cohort without visits.

    With visits the share `followed` of the tissues, rounded up to whole patients, comes from those
    who are sampled at every time; the other tissues are first samples of further patients.
    """
    if "visits" not in section:
        return [(index % patients, None) for index in range(tissues)]
    visits = section["visits"]
    times = visits["values"]
    followed = ceil(visits["followed"] * tissues / len(times))
    followed = min(followed, tissues // len(times), patients)
    plan = [(owner, time) for time in times for owner in range(followed)]
    rest = min(tissues - len(plan), patients - followed)
    return plan + [(followed + index, times[0]) for index in range(rest)]


def simulate_cohort(cohort_id, effects, settings):
    """Draw one cohort from the effects table and the `simulation` section of the settings."""
    layout = layout_of(cohort_id)
    if cohort_id not in settings["tissues"]:
        raise InputError(
            f"settings: simulation.tissues: {cohort_id} is missing; say how many tissues it has."
        )
    section, settings = section_of(cohort_id, effects), sized(cohort_id, settings)
    streams = np.random.default_rng([settings["seed"], zlib.crc32(cohort_id.encode())]).spawn(5)
    patients = follow_first(section, draw_patients(streams[0], section, settings["patients"]))
    unimaged = draw_patients(streams[1], section, layout.UNIMAGED_PATIENTS)
    plan = plan_tissues(section, len(patients), settings["tissues"][cohort_id])
    samples = [
        patients[owner] if time is None else at_visit(streams[4], section, patients[owner], time)
        for owner, time in plan
    ]
    last = len(plan) - 1
    low, high = settings["side"]
    tissues = []
    for index, rng in enumerate(streams[2].spawn(last + 1 + layout.UNPUBLISHED_TISSUES)):
        small = index == last and cohort_id in settings["undersized"]
        sides = UNDERSIZED if small else (low, high)
        shape = tuple(int(side) for side in rng.integers(sides[0], sides[1], 2, endpoint=True))
        sample = samples[index if index <= last else 0]
        cells = round(settings["cells"] * min(1, shape[0] * shape[1] / high**2))
        composition = sample.niche_shares, sample.type_shares
        tissue = simulate_tissue(rng, shape, cells, section, effects["measurement"], *composition)
        tissue.image[~stained(section, sample.attributes)] = 0
        tissues.append(tissue)
    owners = [owner for owner, _ in plan]
    published, unpublished = tissues[: last + 1], tissues[last + 1 :]
    return SimulatedCohort(patients, published, owners, samples, unimaged, unpublished, streams[3])
