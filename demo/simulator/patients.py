"""Patients: clinical variables that shape a tissue's composition; survival and response follow it.

Cheap enough for hundreds of patients without any image.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Patient:
    """Clinical `attributes` {name: value}, `niche_shares` {niche: share}, `type_shares` per niche.

    Shares sum to 1. A patient who is sampled at several times is one such record per time.
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
        shares = _drawn(rng, expected, cohort["concentration"])
        patients.append(Patient(attributes, shares, type_shares(cohort, attributes)))
    if "response" in cohort:
        draw_response(rng, cohort, patients)
    return patients


def draw_response(rng, cohort, patients):
    """Give every patient a value of the response variable.

    Its first value goes to those with the highest log-odds plus logistic noise, as many as the
    table's share of each group says: a logistic model with the prevalence held exactly.
    """
    spec = cohort["response"]
    propensity = response_log_odds(cohort, patients) + rng.logistic(size=len(patients))
    groups = {}
    for index, patient in enumerate(patients):
        groups.setdefault(patient.attributes[spec["within"]], []).append(index)
    for members in groups.values():
        ranked = sorted(members, key=lambda index: -propensity[index])
        responders = round(spec["share"] * len(members))
        for rank, index in enumerate(ranked):
            patients[index].attributes[spec["variable"]] = spec["values"][rank >= responders]


def at_visit(rng, cohort, patient, value):
    """Return the patient as sampled at the time `value` of the cohort's `visits`.

    The first time is the patient's own composition; later ones add the niche effects that name the
    time, and a Dirichlet draw: another piece of the same tumour.
    """
    visits = cohort["visits"]
    attributes = patient.attributes | {visits["variable"]: value}
    shares = patient.niche_shares
    if value != visits["values"][0]:
        rows = [row for row in cohort["effects"] if _names(row, visits["variable"])]
        changed = {
            name: share * np.exp(sum(_sizes({"effects": rows}, "niche", attributes, name)))
            for name, share in shares.items()
        }
        shares = _drawn(rng, _normalised(changed), visits["concentration"])
    return Patient(attributes, shares, type_shares(cohort, attributes))


def follow_first(cohort, patients):
    """Return the patients in the order in which they are sampled.

    Without `visits` as drawn; with them, first those that `visits.first` names, and in each part
    the values of the response take turns.
    """
    if "visits" not in cohort:
        return patients
    first, variable = cohort["visits"]["first"], cohort["response"]["variable"]
    seen, order = {}, []
    for index, patient in enumerate(patients):
        part = not _matches(first, patient.attributes)
        key = part, patient.attributes[variable]
        seen[key] = seen.get(key, 0) + 1
        order.append((part, seen[key], index))
    return [patients[index] for *_, index in sorted(order)]


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


def stained(section, attributes):
    """Return which channels [C] (bool) of the panel were measured in tissues of such a patient."""
    only = [entry.get("only", {}) for entry in section["panel"]]
    return np.array(
        [all(attributes[name] in values for name, values in each.items()) for each in only]
    )


def draw_survival(rng, cohort, patients):
    """Return {event: (years [n], seen [n] bool)}: exponential times with `hazard` effects.

    A patient is followed for one time, whatever the event, and not beyond death.
    """
    survival = cohort["survival"]
    times = {
        event: rng.exponential(1 / (rate * np.exp(log_hazard(cohort, patients, event))))
        for event, rate in survival["per_year"].items()
    }
    end = np.minimum(rng.uniform(*survival["followed_years"], len(patients)), times["death"])
    return {event: (np.minimum(time, end), time <= end) for event, time in times.items()}


def log_hazard(cohort, patients, event):
    """Return the log hazard of an event [n], relative to the cohort's expected composition."""
    return _linear(cohort, patients, "hazard", event)


def response_log_odds(cohort, patients):
    """Return the log-odds of response of each patient, relative to the expected composition."""
    return _linear(cohort, patients, "response", cohort["response"]["values"][0])


def _linear(cohort, patients, kind, target):
    """Return the sum [n] of the rows' sizes times the niche's excess share in units of 0.1."""
    total = np.zeros(len(patients))
    for row in cohort["effects"]:
        if row["kind"] == kind and row["target"] == target:
            usual = cohort["niches"][row["cause"]]["share"]
            share = np.array([patient.niche_shares[row["cause"]] for patient in patients])
            hit = [_matches(row.get("when", {}), patient.attributes) for patient in patients]
            total += row["size"] * (share - usual) / 0.1 * hit
    return total


def _sizes(cohort, kind, attributes, target):
    return [
        row["size"]
        for row in cohort["effects"]
        if row["kind"] == kind and row["target"] == target and _matches(row["cause"], attributes)
    ]


def _names(row, variable):
    return row["kind"] == "niche" and variable in row["cause"]


def _matches(values, attributes):
    return all(attributes.get(name) == value for name, value in values.items())


def _drawn(rng, expected, concentration):
    """Return shares around the expected ones; none below 1 %, so that every niche has some area."""
    drawn = rng.dirichlet(concentration * np.array(list(expected.values())))
    return _normalised(dict(zip(expected, np.clip(drawn, 0.01, None), strict=True)))


def _normalised(shares):
    total = sum(shares.values())
    return {name: float(share / total) for name, share in shares.items()}
