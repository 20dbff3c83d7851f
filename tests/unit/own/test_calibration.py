"""Error estimates of virtual stains: closed forms, planted errors and their absence."""

import re

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.common.correlation import moments
from workflow_scripts.own import stain_markers
from workflow_scripts.own.calibration import (
    Calibration,
    nearest_trained,
    relative_error,
    scored,
    verdict,
)


def test_the_error_is_that_of_the_pixels():
    rng = np.random.default_rng(0)
    truth, guess = rng.normal(2, 3, 5000), rng.normal(0, 1, 5000)
    expected = np.sqrt(np.mean((truth - guess) ** 2)) / truth.std()
    assert relative_error(moments(truth, guess)) == pytest.approx(expected)
    assert relative_error(moments(truth, truth)) == pytest.approx(0, abs=1e-6)
    assert relative_error(moments(truth, np.full(5000, truth.mean()))) == pytest.approx(1)
    assert np.isnan(relative_error(moments(np.ones(9), guess[:9])))
    best = truth.mean() + 0.6 * (truth - truth.mean())  # sums of parts are sums of all
    halves = moments(truth[:99], best[:99]) + moments(truth[99:], best[99:])
    assert relative_error(halves) == pytest.approx(0.4)


def test_the_interval_is_over_patients():
    rng = np.random.default_rng(1)
    sums = []
    for _ in range(6):
        truth = rng.normal(size=400)
        sums.append(moments(truth, truth + rng.normal(0, rng.uniform(0.4, 0.9), 400)))
    found = scored(np.array(sums), 500, 0)
    assert found["low"] < found["error"] < found["high"]
    few = scored(np.array(sums[:2]), 500, 0)
    assert few["low"] is None and few["high"] is None and np.isfinite(few["error"])


def test_the_nearest_trained_marker_is_by_angle():
    vectors = np.array([[1, 0], [0, 1], [3, 0.3], [1, 1.1], [-1, 0]], float)
    trained = np.array([True, True, False, False, False])
    nearest, distance = nearest_trained(vectors, trained)
    assert nearest.tolist() == [0, 1, 0, 1, 1]
    cosine = vectors[2] @ vectors[0] / np.linalg.norm(vectors[2])
    assert distance == pytest.approx([0, 0, 1 - cosine, 1 - 1.1 / np.hypot(1, 1.1), 1])


def planted(rng, n, slope):
    """Return distances and errors that grow with them by `slope`, a third at distance 0."""
    distances = np.where(np.arange(n) % 3 == 0, 0, rng.uniform(0, 0.2, n))
    return distances, 0.5 + slope * distances + rng.normal(0, 0.08, n)


@pytest.mark.parametrize("slope", [2.0, 0.0])
@pytest.mark.parametrize("n", [9, 30])
def test_the_bound_holds_for_its_share_of_new_markers(slope, n):
    held = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        calibration = Calibration(*planted(rng, n, slope), 0.8)
        distances, errors = planted(rng, 12, slope)
        inside = distances <= calibration.distances.max()
        bounds = [calibration.bound(d) for d in distances]
        held += list((errors <= bounds)[inside])
    # Exchangeable: 0.8 at least; far above it would be a bound that says nothing.
    assert 0.74 < np.mean(held) < 0.95


def test_expected_errors_follow_the_distance_only_where_they_do():
    rng = np.random.default_rng(0)
    steep = Calibration(*planted(rng, 60, 2.0), 0.8)
    flat = Calibration(*planted(rng, 60, 0.0), 0.8)
    assert steep.expected(0.19) - steep.expected(0.0) > 0.25
    assert flat.expected(0.19) - flat.expected(0.0) < 0.15
    assert steep.bound(0.1) > steep.expected(0.1)


@pytest.mark.parametrize(
    ("distances", "errors", "distance", "reason"),
    [
        ([0, 0.1, 0.1], [0.3, 0.4, 0.4], 0.05, "3 measured markers are too few.*; 4 are needed"),
        ([], [], 0.05, "0 measured markers are too few"),
        ([0, 0, 0, 0, 0.1], [0.3] * 5, 0.2, r"further from the trained markers \(0.200\) than any"),
        ([0, 0, 0, 0, 0.1], [0.9, 0.9, 0.9, 0.9, 1.2], 0.1, "its error may reach 1"),
        ([0, 0, 0, 0.1], [0.3, np.nan, 0.3, 0.4], 0.05, "3 measured markers are too few"),
    ],
)
def test_a_doubtful_prediction_says_why(distances, errors, distance, reason):
    answer = Calibration(np.array(distances), np.array(errors, float), 0.8).judge(distance)
    assert answer["trusted"] is False
    assert re.search(reason, answer["reason"])


def test_a_prediction_within_what_was_measured_is_trusted():
    answer = Calibration(np.linspace(0, 0.1, 10), np.linspace(0.3, 0.5, 10), 0.8).judge(0.05)
    assert answer["trusted"] is True and answer["reason"] == ""
    assert 0.3 < answer["expected"] < answer["bound"] < 0.6


def test_a_bound_is_never_below_what_is_expected():
    errors = np.array([*[1.0] * 9, 3.0])  # the mean of all is above nine of ten
    calibration = Calibration(np.zeros(10), errors, 0.8)
    assert calibration.expected(0.0) == pytest.approx(1.2)
    assert calibration.bound(0.0) >= 1.2


def planted_panel(seed, reach=0.2, quality=0.35):
    """Return markers, embeddings, sums of hidden ones and true errors of a planted cohort.

    Three trained markers, seven new ones within `reach`, and two stains that were measured after
    all: one near a trained marker, one far from all. Errors grow with the distance.
    """
    rng = np.random.default_rng(seed)
    distances = np.array([0, 0, 0, *rng.uniform(0.02, reach, 7), 0.05, 0.7])
    angles = np.arccos(1 - distances)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    errors = quality + 1.5 * distances + rng.normal(0, 0.03, 12)
    names = [*(f"M{n}" for n in range(10)), "NEAR", "FAR"]
    table = pd.DataFrame({"uniprot_id": names, "marker": names})
    table["trained"], table["measured"] = distances == 0, np.arange(12) < 10
    table["stain"] = ~table["measured"]
    rows = []
    for name, error in zip(names[:10], errors, strict=False):
        for patient in range(4):
            truth = rng.normal(size=500)
            guess = truth + error * rng.normal(size=500)
            rows.append(("t", f"p{patient}", name, *moments(truth, guess)))
    columns = [*stain_markers.KEYS, *stain_markers.MOMENTS]
    return (
        table,
        vectors,
        pd.DataFrame(rows, columns=columns),
        dict(zip(names, errors, strict=True)),
    )


def test_a_stain_near_a_trained_marker_is_trusted_and_right_and_a_far_one_is_neither():
    right = []
    for seed in range(12):
        table, vectors, sums, truth = planted_panel(seed)
        names = table["uniprot_id"].tolist()
        made = stain_markers.judged(table, vectors, names, sums, 0.8, 0).set_index("uniprot_id")
        near, far = made.loc["NEAR"], made.loc["FAR"]
        assert near["trusted"] and not near["reason"] and near["nearest"] in ("M0", "M1", "M2")
        right.append(truth["NEAR"] <= near["bound"])
        assert near["expected"] == pytest.approx(truth["NEAR"], abs=0.15)
        assert not far["trusted"] and "further from the trained markers" in far["reason"]
        assert truth["FAR"] > far["bound"]  # what the bound does not cover is not claimed
        words = verdict(made[made["stain"]])
        assert words == "1 usable with care, 1 not to be trusted, see below why"
    assert np.mean(right) >= 0.75


def test_without_planted_quality_nothing_is_trusted_and_the_page_says_so():
    for seed in range(4):
        table, vectors, sums, _ = planted_panel(seed, quality=1.0)
        made = stain_markers.judged(table, vectors, table["uniprot_id"].tolist(), sums, 0.8, 0)
        stains = made[made["stain"]]
        assert not stains["trusted"].any()
        assert stains["reason"].str.contains("may reach|further from").all()
        assert verdict(stains) == "none of them should be trusted, see below why"
        assert verdict(stains[:1]) == "it should not be trusted, see below why"
