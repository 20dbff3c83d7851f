"""Patients: clinical variables that shape a tissue's composition, and survival that follows it.

Cheap enough for hundreds of patients without any image.
"""

from dataclasses import dataclass

import numpy as np

CONCENTRATION = 80  # of the Dirichlet draw around a patient's expected niche shares


@dataclass
class Patient:
    """Clinical `attributes` {name: value}, `niche_shares` {niche: share}, `type_shares` per niche.

    Shares sum to 1.
    """

    attributes: dict
    niche_shares: dict
    type_shares: dict


def draw_patients(rng, cohort, count):
    """Draw `count` patients of a cohort section of the effects table."""
    columns = {
        name: quota(rng, frequencies, count) for name, frequencies in cohort["attributes"].items()
    }
    patients = []
    for values in zip(*columns.values(), strict=True):
        attributes = dict(zip(columns, values, strict=True))
        attributes |= derived_attributes(cohort, attributes)
        expected = expected_niche_shares(cohort, attributes)
        drawn = rng.dirichlet(CONCENTRATION * np.array(list(expected.values())))
        patients.append(
            Patient(
                attributes,
                dict(zip(expected, np.clip(drawn, 0.01, None), strict=True)),
                type_shares(cohort, attributes),
            )
        )
    for patient in patients:
        patient.niche_shares = _normalised(patient.niche_shares)
    return patients


def quota(rng, frequencies, count):
    """Return `count` values in random order, each as often as its frequency says, rounded."""
    cumulative = np.cumsum(list(frequencies.values()))
    position = (np.arange(count) + 0.5) / count * cumulative[-1]
    values = [list(frequencies)[i] for i in np.searchsorted(cumulative, position)]
    return [values[i] for i in rng.permutation(count)]


def derived_attributes(cohort, attributes):
    """Return the variables that follow from `attributes`: the first matching row of each."""
    return {
        name: next(row["value"] for row in rows if _matches(row["when"], attributes))
        for name, rows in cohort.get("derived", {}).items()
    }


def expected_niche_shares(cohort, attributes):
    """Return {niche: share} of patients with these attributes; `niche` effects are log-odds."""
    return _normalised(
        {
            name: spec["share"] * np.exp(sum(_sizes(cohort, "niche", attributes, name)))
            for name, spec in cohort["niches"].items()
        }
    )


def type_shares(cohort, attributes):
    """Return {niche: {cell type: share}}; `cell_type` effects multiply a share."""
    return {
        niche: _normalised(
            {
                name: share * np.prod(_sizes(cohort, "cell_type", attributes, name))
                for name, share in spec["types"].items()
            }
        )
        for niche, spec in cohort["niches"].items()
    }


def draw_survival(rng, cohort, patients):
    """Return (years [n], died [n] bool): exponential times, `hazard` effects, uniform censoring."""
    survival = cohort["survival"]
    rate = survival["deaths_per_year"] * np.exp(log_hazard(cohort, patients))
    death = rng.exponential(1 / rate)
    followed = rng.uniform(*survival["followed_years"], len(patients))
    return np.minimum(death, followed), death <= followed


def log_hazard(cohort, patients):
    """Return the log hazard of each patient relative to the cohort's expected composition."""
    total = np.zeros(len(patients))
    for row in cohort["effects"]:
        if row["kind"] == "hazard":
            usual = cohort["niches"][row["cause"]]["share"]
            share = np.array([patient.niche_shares[row["cause"]] for patient in patients])
            total += row["size"] * (share - usual) / 0.1
    return total


def _sizes(cohort, kind, attributes, target):
    return [
        row["size"]
        for row in cohort["effects"]
        if row["kind"] == kind and row["target"] == target and _matches(row["cause"], attributes)
    ]


def _matches(values, attributes):
    return all(attributes[name] == value for name, value in values.items())


def _normalised(shares):
    total = sum(shares.values())
    return {name: float(share / total) for name, share in shares.items()}
