"""Patients at token level, hundreds of them, as the rule reads them."""

import copy
from dataclasses import dataclass

import pandas as pd
import pytest

from demo.simulator.cohort import read_effects
from demo.simulator.tokens import TokenCohort, simulate_tokens

EFFECTS = read_effects()
TASK = {
    "column": "DeathBreast",
    "time": "yearsToStatus",
    "unit": "years",
    "where": {"ERStatus": ["pos"]},
}
SETTINGS = {
    "tumour": None,
    "states": 40,
    "groups": 4,
    "high": 2,
    "passes": 3,
    "block": 4096,
    "phenotype": "cell_type",
    "structures": "niche",
    "structure_share": 0.1,
    "contours": ["Vascular stroma", "APC enriched"],
    "umap_cells": 200,
    "covariates": ["Grade", "Age", "PAM50"],
    "other_states": [10],
    "permutations": 99,
    "bootstrap": 100,
}


@dataclass
class Study:
    """Index, tokens and labels of cells, and the table of tissues."""

    cohort: TokenCohort
    tissues: pd.DataFrame

    @property
    def cells(self):
        return self.cohort.cells


def _simulated(seed, patients=400, cells=60, cut=None, differ=True):
    """Simulate a cohort; `differ`: patients differ enough for groups to be told apart.

    The planted hazards are those of the effects table. Its patients are alike, so that no four
    groups could show them with some hundred patients.
    """
    effects = copy.deepcopy(EFFECTS)
    if differ:
        section = effects["cohorts"]["danenberg2022"]
        section["concentration"] = 12
        for niche, share in zip(section["niches"].values(), (30, 15, 20, 15, 20), strict=True):
            niche["share"] = share / 100
    cohort = simulate_tokens(effects, "danenberg2022", patients, cells, seed, cut=cut)
    tissues = cohort.cells.drop_duplicates("tissue_id")[["tissue_id", "patient_id"]]
    tissues = tissues.merge(cohort.patients, on="patient_id")
    tissues["DeathBreast"] = tissues["death_seen"].astype(int)
    tissues = tissues.rename(columns={"death_years": "yearsToStatus"})
    return Study(cohort, tissues.set_index("tissue_id", drop=False))


@pytest.fixture(scope="session")
def simulated():
    """The function that simulates a cohort, each asked for once."""
    made = {}

    def get(seed, **settings):
        key = (seed, *sorted(settings.items()))
        if key not in made:
            made[key] = _simulated(seed, **settings)
        return made[key]

    return get
